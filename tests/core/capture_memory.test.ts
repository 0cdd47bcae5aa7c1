// The memory of captured steps: reused inside a recording, shared by steps of one pool, left alone by all others.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  capture,
  CapturePool,
  mul,
  ones,
  randn,
  scope,
  setDefaultDevice,
  sum,
  tanh,
  tensor,
  type Tensor,
} from '../../lib/index.js';
import { addon } from '../../lib/native.js';
import { availableDevices } from '../support/devices.js';

const numbers = (x: Tensor): number[] => Array.from(x.dataSync(), Number);

for (const device of availableDevices)
  describe(`on ${device}`, () => {
    const records = addon.records(device.index);
    // The emulator serves every request in its own size.
    const joins = records && device.name !== 'emulated';
    const graphBytes = (): number => device.memoryStats().graphBytes;
    let before = 0;
    beforeEach(() => {
      setDefaultDevice(device);
      before = graphBytes();
    });
    afterEach(() => expect(graphBytes()).toBe(before));

    test('temporaries are reused inside a recording and by nobody else', () => {
      using _scope = scope();
      const step = capture((x: Tensor) => {
        let y = x;
        for (let i = 0; i < 10; i++) {
          const previous = y;
          y = tanh(previous);
          if (previous !== x) previous.dispose();
        }
        return y;
      });
      const reference = (x: Tensor) => {
        let y = x;
        for (let i = 0; i < 10; i++) y = tanh(y);
        return numbers(y);
      };
      const size = 1000;
      for (let i = 0; i < 4; i++) {
        const x = randn([size]);
        const strangers = [1, 2, 3].map(() => randn([size]));
        const kept = strangers.map(numbers);
        expect(numbers(step(x))).toEqual(reference(x));
        expect(strangers.map(numbers)).toEqual(kept);
      }
      if (records) {
        expect(graphBytes()).toBeGreaterThan(0);
        expect(graphBytes()).toBeLessThanOrEqual(3 * 4096);
      } else expect(graphBytes()).toBe(0);
      step.dispose();
    });

    test.runIf(joins)('large temporaries use each other’s memory, whatever their sizes', () => {
      using _scope = scope();
      const unit = 1 << 18;
      const step = capture((x: Tensor, y: Tensor, z: Tensor) => {
        const three = mul(x, 2);
        const total = sum(three);
        three.dispose();
        const [one, two] = [mul(y, 3), mul(z, 4)];
        return total.add(sum(one)).add(sum(two));
      });
      const inputs = [3, 1, 2].map((units) => ones([units * unit])) as [Tensor, Tensor, Tensor];
      for (let i = 0; i < 3; i++) expect(numbers(step(...inputs))).toEqual([17 * unit]);
      // Three units, and small change.
      expect(graphBytes()).toBeLessThan(3.1 * 4 * unit);
      step.dispose();
    });

    test.runIf(joins)('steps that take turns share a pool', () => {
      using _scope = scope();
      const size = 1 << 17;
      const pool = new CapturePool();
      const weight = tensor([2], { requiresGrad: true });
      // Each leaves a gradient, and temporaries of its own size.
      const make = (times: number, options: { pool?: CapturePool }) =>
        capture((x: Tensor) => {
          weight.grad?.dispose();
          weight.grad = null;
          const wide = x.reshape([1, size]).expand([times, size]).mul(weight);
          const loss = sum(wide.mul(wide));
          loss.backward();
          return loss;
        }, options);
      const held = (options: { pool?: CapturePool }): number => {
        const steps = [3, 1, 2].map((times) => ({ times, step: make(times, options) }));
        for (let turn = 1; turn <= 4; turn++)
          for (const { times, step } of steps) {
            const x = ones([size]).mul(turn);
            const squares = times * size * turn ** 2;
            expect(numbers(step(x))).toEqual([4 * squares]);
            expect(numbers(weight.grad!)).toEqual([4 * squares]);
            x.dispose();
          }
        const most = graphBytes();
        // Whichever goes first, the others keep what they need.
        steps[1].step.dispose();
        for (const { times, step } of [steps[0], steps[2]])
          expect(numbers(step(ones([size])))).toEqual([4 * times * size]);
        weight.grad!.dispose();
        weight.grad = null;
        for (const { step } of steps) step.dispose();
        return most;
      };
      const [apart, together] = [held({}), held({ pool })];
      expect(together).toBeLessThan(0.6 * apart);
      expect(pool.graphs.size).toBe(0);
    });
  });
