// Attention and its gradients are no less exact than PyTorch's: the lengths of its chains of additions
// hang on these figures.
import { describe, expect, it } from 'vitest';
import { attention, device, grad, noise, type DType, type Tensor } from '../lib/index.js';
import { relativeError, slack } from './support/relative_error.js';

/**
 * What PyTorch 2.13's errors are on two AVX-512 cores: norm of the difference from float64 over its
 * norm, inputs normal, four of [queries, keys, heads, D], queries
 * times a fifth number: of the result and the gradients of q, k and v.
 */
const pytorch: [shape: number[], ...errors: number[]][] = [
  [[64, 64, 28, 32], 2.43e-7, 3.54e-7, 3.27e-7, 2.97e-7],
  [[64, 64, 8, 40], 2.55e-7, 3.55e-7, 3.32e-7, 2.98e-7],
  [[128, 128, 8, 64], 3.42e-7, 4.1e-7, 3.71e-7, 3.4e-7],
  [[256, 256, 8, 32], 3.02e-7, 4.01e-7, 3.61e-7, 3.42e-7],
  [[1024, 77, 8, 40], 2.75e-7, 3.77e-7, 3.93e-7, 3.73e-7],
  [[64, 64, 8, 64, 10], 7.56e-7, 1.93e-6, 1.94e-6, 9.59e-7],
];

function results(dtype: DType, [queries, keys, heads, D, times = 1]: number[]): Tensor[] {
  const make = (seed: number, length: number): Tensor =>
    noise([4, length, heads, D], { seed, device: device('cpu') })
      .to(dtype)
      .detach();
  const inputs = [make(0, queries).mul(times), make(1, keys), make(2, keys)];
  for (const input of inputs) input.requiresGrad = true;
  const [q, k, v] = inputs;
  const y = attention(q, k, v);
  return [y, ...grad(y, inputs, { gradOutput: make(3, queries) })];
}

describe('attention in float32', () => {
  it.each(pytorch)('is as exact as PyTorch: %j', async (shape, ...theirs) => {
    const [rounded, exact] = [results('float32', shape), results('float64', shape)];
    for (const [i, limit] of theirs.entries())
      expect(await relativeError(rounded[i], exact[i])).toBeLessThanOrEqual(limit * slack);
  });
});
