import { describe, expect, test } from 'vitest';
import {
  defaultDevice,
  grad,
  Linear,
  pipe,
  registerHook,
  Sequential,
  SiLU,
  tensor,
  tidy,
  type Tensor,
} from '../../lib/index.js';

const leaf = (...values: number[]): Tensor => tensor(values, { requiresGrad: true });
const values = (x: Tensor | null): number[] => Array.from(x!.dataSync(), Number);
const live = (): number => defaultDevice().memoryStats().tensors;

describe('what operations saved', () => {
  test('what a kept result follows from is kept, and all else given up', () => {
    const x = leaf(1, 2, 3);
    const before = live();
    const y = tidy(() => {
      const first = x.exp();
      first.exp().exp();
      return first.exp().mul(first);
    });
    expect(live()).toBe(before + 3); // y and what it multiplied
    y.sum().backward();
    y.dispose();
    x.grad!.dispose();
    expect(live()).toBe(before + 1); // the sum
  });

  test('a history ends with its last result, in whichever order they are disposed', () => {
    const x = leaf(1, 2, 3);
    const layers = [new Linear(3, 3), new SiLU(), new Linear(3, 3), new SiLU()];
    const model = new Sequential(...layers);
    const input = x.reshape([1, 3]);
    const before = live();
    for (let i = 0; i < 3; ++i) tidy(() => void model.forward(input).sum());
    expect(live()).toBe(before);
    const y = model.forward(input);
    y.dispose();
    let deep: Tensor = x;
    for (let i = 0; i < 20_000; ++i) {
      const next = deep.exp();
      if (deep !== x) deep.dispose();
      deep = next;
    }
    deep.dispose();
    expect(live()).toBe(before);
  });

  test('backward and grad reach what only their walk holds', () => {
    const x = leaf(1, 2);
    const inner = x.mul(x);
    const y = pipe(inner, [(a) => a.exp(), (a) => a.mul(a), (a) => a.sum()]);
    const [gradient] = grad(y, [inner], { retainGraph: true });
    y.backward();
    expect(values(x.grad)[0]).toBeCloseTo(2 * values(gradient)[0], 4);
    const before = live();
    const z = pipe(x, [(a) => a.exp(), (a) => a.mul(a), (a) => a.sum()]);
    const remove = registerHook(z, () => {
      throw new Error('broken');
    });
    expect(() => z.backward()).toThrow('broken');
    remove();
    z.dispose();
    expect(live()).toBeLessThanOrEqual(before + 1); // the seed
  });
});
