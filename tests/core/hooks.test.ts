import { describe, expect, test } from 'vitest';
import {
  clipGradNorm,
  defaultDevice,
  keep,
  registerHook,
  tensor,
  tidy,
  zeros_,
  type Tensor,
} from '../../lib/index.js';

const leaf = (...values: number[]): Tensor => tensor(values, { requiresGrad: true });
const values = (x: Tensor | null): number[] => Array.from(x!.dataSync(), Number);

describe('hooks', () => {
  test('see and replace gradients of leaves and of results', () => {
    const x = leaf(1, 2);
    const y = x.mul(3);
    const seen: number[][] = [];
    registerHook(y, (g) => void seen.push(values(g)));
    const remove = registerHook(x, (g) => g.mul(10));
    y.sum().backward();
    expect(seen).toEqual([[1, 1]]);
    expect(values(x.grad)).toEqual([30, 30]);
    remove();
    x.mul(1).sum().backward();
    expect(values(x.grad)).toEqual([31, 31]);
  });

  test('may keep what they see', () => {
    const [x, kept] = [leaf(1, 2), [] as Tensor[]];
    const y = x.mul(3);
    for (const tensor of [x, y]) registerHook(tensor, (g) => void kept.push(keep(g)));
    y.sum().backward();
    zeros_(x.grad!);
    expect(kept.map(values)).toEqual([
      [1, 1],
      [3, 3],
    ]);
  });

  test('may return a tensor that stays their own', () => {
    const [x, mine] = [leaf(1, 2), tensor([5, 5])];
    const y = x.mul(2);
    for (const tensor of [x, y]) registerHook(tensor, () => mine);
    y.sum().backward();
    expect(x.grad).not.toBe(mine);
    clipGradNorm([x], 1);
    x.grad!.dispose();
    expect(values(mine)).toEqual([5, 5]);
  });

  test('see gradients whose handles do not outlive them', () => {
    const x = leaf(1, 2);
    for (const replace of [(g: Tensor) => void g.mul(2), (g: Tensor) => g, (g: Tensor) => g.mul(2)])
      registerHook(x, replace);
    const before = defaultDevice().memoryStats().tensors;
    tidy(() => x.mul(2).sum().backward());
    expect(values(x.grad)).toEqual([4, 4]);
    expect(defaultDevice().memoryStats().tensors).toBe(before + 1);
  });
});
