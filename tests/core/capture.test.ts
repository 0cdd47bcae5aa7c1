import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  autocast,
  autocastDType,
  capture,
  DisposedError,
  Ema,
  GradScaler,
  keep,
  linear,
  manualSeed,
  mseLoss,
  mul,
  noGrad,
  noise,
  ones,
  randn,
  scope,
  setDefaultDevice,
  setFloat32MatmulPrecision,
  SGD,
  sum,
  tanh,
  tensor,
  tidy,
  type DType,
  type Tensor,
} from '../../lib/index.js';
import { addon } from '../../lib/native.js';
import { noteWritten } from '../../lib/tensor.js';
import { availableDevices } from '../support/devices.js';

const numbers = (x: Tensor): number[] => Array.from(x.dataSync(), Number);
const leaf = (values: number[]): Tensor => tensor(values, { requiresGrad: true });
const data = (...values: number[]): Tensor => tensor(values);

for (const device of availableDevices)
  describe(`on ${device}`, () => {
    const records = addon.records(device.index);
    let before = '';
    const memory = (): string => {
      const { tensors, liveBytes, graphBytes } = device.memoryStats();
      return JSON.stringify({ tensors, liveBytes, graphBytes });
    };
    beforeEach(() => {
      setDefaultDevice(device);
      before = memory();
    });
    afterEach(() => expect(memory()).toBe(before));

    test('every call computes what fn computes, into the same tensors', () => {
      using _scope = scope();
      const weight = data(2, 3);
      const step = capture((x: Tensor, y: Tensor) => ({
        product: mul(x, weight),
        list: [sum(mul(x, y)), 'name'] as [Tensor, string],
      }));
      let first: ReturnType<typeof step> | null = null;
      for (let i = 1; i <= 5; i++) {
        const result = tidy(() => {
          const made = step(data(i, 2 * i), data(1, i));
          expect(numbers(made.product)).toEqual([2 * i, 6 * i]);
          expect(numbers(made.list[0])).toEqual([i + 2 * i * i]);
          return null;
        });
        expect(result).toBe(null);
        const again = step(data(1, 1), data(1, 1));
        first ??= again;
        expect(again).toBe(first);
        expect(again.list[1]).toBe('name');
        expect(numbers(first.product)).toEqual([2, 3]);
      }
      step.dispose();
      expect(first!.product.disposed).toBe(true);
      expect(() => step(data(1, 1), data(1, 1))).toThrow(DisposedError);
    });

    test('a replay sees weights that changed in place, and none that disappeared', () => {
      using _scope = scope();
      const weight = leaf([1, 2]);
      const optimizer = new SGD([weight], { lr: 1 });
      const step = capture((x: Tensor) => {
        const loss = sum(mul(mul(x, weight), weight));
        loss.backward();
        return loss;
      });
      const expected = [1, 2];
      for (let i = 0; i < 4; i++) {
        optimizer.zeroGrad();
        const loss = step(data(0.25, 0.25));
        expect(numbers(loss)[0]).toBe(0.25 * (expected[0] ** 2 + expected[1] ** 2));
        expect(numbers(weight.grad!)).toEqual(expected.map((w) => 0.5 * w));
        optimizer.step();
        expected.forEach((w, k) => (expected[k] = 0.5 * w));
        expect(numbers(weight)).toEqual(expected);
      }
      // The recording holds what it reads: the memory of the weight is not given to anybody else.
      optimizer.zeroGrad();
      optimizer.dispose();
      step.dispose();
      const closed = ones([2]);
      const reading = capture((x: Tensor) => mul(x, closed));
      reading(data(1, 2));
      reading(data(1, 2));
      if (records) {
        closed.dispose();
        const other = data(7, 7);
        expect(numbers(reading(data(3, 4)))).toEqual([3, 4]);
        other.dispose();
      }
      reading.dispose();
    });

    describe('gradients', () => {
      const start = (inside: boolean, warmup = 1) => {
        const weight = leaf([1]);
        const step = capture(
          (x: Tensor) => {
            if (inside) {
              weight.grad?.dispose();
              weight.grad = null;
            }
            sum(mul(x, weight)).backward();
          },
          { warmup },
        );
        return { weight, step };
      };

      test('zeroed before every call', () => {
        using _scope = scope();
        const { weight, step } = start(false);
        for (const value of [1, 2, 3, 4]) {
          weight.grad?.dispose();
          weight.grad = null;
          step(data(value));
          expect(numbers(weight.grad!)).toEqual([value]);
        }
        if (records) expect(() => step(data(1))).toThrow(/has the gradient that it lacked/);
        weight.grad!.dispose();
        step.dispose();
      });

      test('zeroed inside', () => {
        using _scope = scope();
        const { weight, step } = start(true);
        for (const value of [1, 2, 3, 4]) {
          step(data(value));
          expect(numbers(weight.grad!)).toEqual([value]);
        }
        weight.grad!.dispose();
        step.dispose();
      });

      test('accumulated', () => {
        using _scope = scope();
        const { weight, step } = start(false, 2);
        let total = 0;
        for (const value of [1, 2, 3, 4]) {
          step(data(value));
          expect(numbers(weight.grad!)).toEqual([(total += value)]);
        }
        weight.grad!.dispose();
        weight.grad = null;
        if (records) expect(() => step(data(1))).toThrow(/lacks the gradient that it had/);
        step.dispose();
      });
    });

    test('a result that the next call overwrote gives no gradient', () => {
      using _scope = scope();
      const [weight, step] = [leaf([3]), capture((x: Tensor) => mul(x, 2))];
      for (let i = 0; i < 3; i++) {
        const loss = sum(mul(weight, step(data(i))));
        step(data(7));
        expect(() => loss.backward()).toThrow(/mul saved .* a captured step/);
      }
      sum(mul(weight, step(data(4)))).backward();
      expect(numbers(weight.grad!)).toEqual([8]);
      weight.grad!.dispose();
      step.dispose();
    });

    test('a loss scale that changes between calls', async () => {
      await tidy(async () => {
        const weight = leaf([1]);
        const optimizer = new SGD([weight], { lr: 0.5 });
        const scaler = new GradScaler({ initScale: 4, growthInterval: 1 });
        const step = capture((x: Tensor) => scaler.scale(sum(mul(x, weight))).backward());
        for (const value of [1, 2, Infinity, 3]) {
          const scale = scaler.currentScale;
          optimizer.zeroGrad();
          step(data(value));
          expect(numbers(weight.grad!)).toEqual([value * scale]);
          await scaler.step(optimizer);
          scaler.update();
        }
        expect(numbers(weight)).toEqual([1 - 0.5 * 6]);
        expect(scaler.currentScale).toBe(16);
        optimizer.zeroGrad();
        scaler.dispose();
        step.dispose();
        weight.dispose();
      });
    });

    test('autocast around a step and inside it', () => {
      using _scope = scope();
      const weight = leaf([1.00390625]); // no bfloat16
      const dtypes: (DType | null)[] = [];
      const step = capture((x: Tensor) => {
        dtypes.push(autocastDType());
        return mul(x, weight);
      });
      autocast('bfloat16', () => {
        for (const value of [1, 2, 3])
          expect(numbers(step(data(value)))[0]).toBe(value * 1.00390625);
      });
      expect(new Set(dtypes)).toEqual(new Set(['bfloat16']));
      if (records) {
        expect(() => step(data(1))).toThrow(/recorded with gradients on and autocast bfloat16/);
        expect(() => autocast('bfloat16', () => noGrad(() => step(data(1))))).toThrow(
          /called with off/,
        );
      }
      step.dispose();
    });

    test('fixed weights are converted by the region around the calls, once', () => {
      using _scope = scope();
      const weight = keep(randn([64, 64]));
      const x = randn([2, 64]);
      const run = (fixedWeights: boolean) =>
        autocast('bfloat16', () => {
          const step = capture((input: Tensor) => linear(input, weight), { fixedWeights });
          const { liveBytes } = device.memoryStats();
          const results = [1, 2, 3].map(() => numbers(step(x)));
          const stats = device.memoryStats();
          const output = x.shape[0] * 64 * 2;
          step.dispose();
          return { results, kept: stats.liveBytes - liveBytes - output, graph: stats.graphBytes };
        });
      const [anew, once] = [run(false), run(true)];
      expect(once.results).toEqual(anew.results);
      const copy = 2 * weight.numel;
      expect(once.kept - anew.kept).toBe(copy);
      if (records) expect(anew.graph - once.graph).toBe(copy);
      weight.dispose();
    });

    test.runIf(records)('copies of weights that a broken recording left are not used', () => {
      using _scope = scope();
      const weight = keep(randn([8, 8]));
      const x = randn([2, 8]);
      autocast('bfloat16', () => {
        const expected = numbers(autocast('bfloat16', () => linear(x, weight)));
        noteWritten([weight]); // the warm-up's copy is stale, so the recording makes one
        let calls = 0;
        const broken = capture(
          (input: Tensor) => {
            if (calls++ === 0) return input.mul(1);
            const y = linear(input, weight);
            y.dataSync();
            return y;
          },
          { fixedWeights: true },
        );
        broken(x);
        expect(() => broken(x)).toThrow(/a value is read/);
        broken.dispose();
        expect(numbers(linear(x, weight))).toEqual(expected);
      });
      weight.dispose();
    });

    test('refuses inputs unlike the first, and what is no step', () => {
      using _scope = scope();
      const step = capture((x: Tensor) => mul(x, 2));
      step(data(1, 2));
      expect(() => step(data(1))).toThrow(
        'capture: input 0 was Tensor(float32, [2]) in the first call, got Tensor(float32, [1])',
      );
      expect(() => step(tensor([1, 2], { dtype: 'int32' }))).toThrow(
        /was Tensor\(float32, \[2\]\)/,
      );
      expect(() => (step as (...xs: Tensor[]) => Tensor)()).toThrow(/expected 1 inputs/);
      expect(() => step(1 as unknown as Tensor)).toThrow(/input 0 must be a Tensor, got 1/);
      expect(() => step(leaf([1, 2]))).toThrow(/requires a gradient/);
      expect(() => capture(() => 1, { warmup: 0 })).toThrow(/warmup must be an integer >= 1/);
      expect(numbers(step(data(3, 4)))).toEqual([6, 8]);
      step.dispose();

      let calls = 0;
      const changing = capture((x: Tensor) => (calls++ ? [x, x] : [x]));
      changing(data(1));
      expect(() => changing(data(1))).toThrow(/returned Tensor.* in the first call and/);
      changing.dispose();
      const slow = capture(async (x: Tensor) => {
        await x.data();
      });
      expect(() => slow(data(1))).toThrow(/must be synchronous/);
      slow.dispose();
      const inner = capture((x: Tensor) => mul(x, 2));
      const outer = capture((x: Tensor) => inner(x));
      expect(() => outer(data(1))).toThrow(/a captured step inside another/);
      outer.dispose();
      inner.dispose();
    });

    test.runIf(records)('refuses what a recording cannot hold, and can record afterwards', () => {
      using _scope = scope();
      const weight = leaf([1]);
      const optimizer = new SGD([weight], { lr: 1 });
      const ema = new Ema([['weight', weight]]);
      const forbidden: Record<string, [() => unknown, RegExp]> = {
        read: [() => weight.dataSync(), /a value is read/],
        upload: [() => data(1), /a tensor is made from host data/],
        random: [() => randn([1]), /random numbers are drawn/],
        noise: [() => noise([1], { seed: 1 }), /random numbers are drawn/],
        step: [() => optimizer.step(), /an optimizer steps/],
        ema: [() => ema.update(), /an average moves/],
        wait: [() => device.synchronizeSync(), /not while work is recorded/],
        cache: [() => device.emptyCache(), /not while work is recorded/],
        precision: [() => setFloat32MatmulPrecision('high'), /not while work is recorded/],
      };
      for (const [body, message] of Object.values(forbidden)) {
        let wrong = true;
        let calls = 0;
        const step = capture((x: Tensor) => {
          const loss = sum(mul(x, weight));
          weight.grad?.dispose();
          weight.grad = null;
          loss.backward();
          if (calls++ > 0 && wrong) body();
          return loss;
        });
        step(data(2));
        expect(() => step(data(3))).toThrow(message);
        expect(weight.grad).toBe(null);
        wrong = false;
        expect(numbers(step(data(4)))).toEqual([4]);
        expect(numbers(weight.grad!)).toEqual([4]);
        step.dispose();
        optimizer.zeroGrad();
      }
      optimizer.dispose();
      ema.dispose();
    });

    test('a small training, recorded, is the one that is not', () => {
      const train = (record: boolean): number[] => {
        using _scope = scope();
        manualSeed(11);
        const weights = [randn([8, 4]), randn([2, 8])];
        for (const weight of weights) weight.requiresGrad = true;
        const optimizer = new SGD(weights, { lr: 0.05, momentum: 0.9 });
        const body = (x: Tensor, y: Tensor): Tensor => {
          const loss = mseLoss(linear(tanh(linear(x, weights[0])), weights[1]), y);
          loss.backward();
          return loss;
        };
        const step = capture(body);
        const losses: number[] = [];
        for (let i = 0; i < 8; i++) {
          optimizer.zeroGrad();
          const [x, y] = [randn([4, 4]), randn([4, 2])];
          losses.push((record ? step(x, y) : body(x, y)).itemSync());
          optimizer.step();
        }
        optimizer.zeroGrad();
        optimizer.dispose();
        step.dispose();
        return losses;
      };
      expect(train(true)).toEqual(train(false));
    });
  });
