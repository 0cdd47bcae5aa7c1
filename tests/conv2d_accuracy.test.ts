// Convolutions are no less exact than PyTorch's direct sums: the choice of a form of Winograd's minimal
// filtering, or of none, and of the length of the chains of additions hangs on these figures.
import { describe, expect, it } from 'vitest';
import { conv2d, device, grad, noise, type DType, type Tensor } from '../lib/index.js';
import { relativeError, slack } from './support/relative_error.js';

/**
 * What PyTorch 2.13's errors are on two AVX-512 cores: norm of the difference from float64 over its
 * norm, inputs normal, filters of variance 1 / (R S C), for [images, side, channels, filters, R = S].
 */
const pytorch: [shape: number[], forward: number, input: number, weight: number][] = [
  [[8, 64, 32, 32, 3], 3.02e-7, 3.02e-7, 5.0e-7],
  [[32, 16, 48, 48, 3], 3.61e-7, 3.62e-7, 2.97e-7],
  [[8, 32, 64, 64, 3], 4.24e-7, 4.25e-7, 3.0e-7],
  [[32, 16, 96, 96, 3], 5.1e-7, 5.1e-7, 2.94e-7],
  [[16, 16, 128, 128, 3], 5.91e-7, 5.9e-7, 2.91e-7],
  [[16, 8, 192, 192, 3], 6.97e-7, 6.97e-7, 2.04e-7],
  [[1, 64, 224, 224, 3], 7.97e-7, 7.97e-7, 2.66e-7],
  [[16, 8, 256, 256, 3], 8.07e-7, 8.08e-7, 2.04e-7],
  [[1, 32, 448, 448, 3], 1.12e-6, 1.12e-6, 1.72e-7],
  [[1, 16, 672, 672, 3], 1.01e-6, 1.01e-6, 1.04e-7],
  [[1, 8, 896, 896, 3], 1.15e-6, 1.15e-6, 7.47e-8],
  [[1, 256, 64, 64, 3], 4.28e-7, 4.29e-7, 9.14e-7],
  [[1, 256, 128, 128, 3], 6.03e-7, 6.03e-7, 9.1e-7],
  // Few pixels in one image and in many.
  [[1, 4, 448, 448, 3], 2.58e-7, 2.46e-7, 6.32e-8],
  [[1, 24, 224, 224, 3], 7.87e-7, 7.88e-7, 1.27e-7],
  [[1, 48, 96, 96, 3], 5.19e-7, 5.22e-7, 2.0e-7],
  [[16, 4, 128, 128, 3], 5.28e-7, 5.31e-7, 1.41e-7],
  [[32, 4, 128, 128, 3], 5.28e-7, 5.3e-7, 1.93e-7],
  [[16, 4, 48, 48, 3], 3.23e-7, 3.26e-7, 1.09e-7],
  [[16, 4, 256, 256, 3], 7.5e-7, 7.44e-7, 1.4e-7],
  [[16, 4, 448, 448, 3], 9.83e-7, 9.8e-7, 1.41e-7],
  [[16, 8, 32, 32, 3], 2.87e-7, 2.86e-7, 2.02e-7],
  [[32, 8, 128, 128, 3], 5.71e-7, 5.7e-7, 2.83e-7],
  [[8, 8, 192, 192, 3], 6.97e-7, 6.94e-7, 1.5e-7],
  [[2, 16, 224, 224, 3], 7.74e-7, 7.83e-7, 1.26e-7],
  [[4, 16, 128, 128, 3], 5.91e-7, 5.93e-7, 1.61e-7],
  [[8, 16, 96, 96, 3], 5.12e-7, 5.12e-7, 2.14e-7],
  [[2, 32, 96, 96, 3], 5.16e-7, 5.2e-7, 2.24e-7],
  [[2, 64, 64, 64, 3], 4.27e-7, 4.28e-7, 2.68e-7],
  [[1, 64, 672, 224, 1], 4.65e-7, 2.69e-7, 2.06e-7],
  [[1, 32, 448, 224, 1], 3.79e-7, 2.69e-7, 1.47e-7],
  [[1, 16, 448, 448, 1], 3.82e-7, 3.81e-7, 2.87e-7],
  [[1, 8, 896, 896, 1], 5.34e-7, 5.35e-7, 1.44e-7],
];

function results(dtype: DType, [n, side, c, k, r]: number[]): Tensor[] {
  const cpu = device('cpu');
  const make = (seed: number, scale: number, ...shape: number[]): Tensor =>
    noise(shape, { seed, device: cpu }).mul(scale).to(dtype).detach();
  const x = make(1, 1, n, side, side, c);
  const weight = make(2, 1 / (r * Math.sqrt(c)), k, r, r, c);
  for (const leaf of [x, weight]) leaf.requiresGrad = true;
  const y = conv2d(x, weight, null, { padding: r >> 1 });
  return [y, ...grad(y, [x, weight], { gradOutput: make(3, 1, ...y.shape) })];
}

describe('convolution in float32', () => {
  it.each(pytorch)('is as exact as PyTorch: %j', async (shape, ...theirs) => {
    const rounded = results('float32', shape);
    const exact = results('float64', shape);
    for (const [i, limit] of theirs.entries()) {
      expect(await relativeError(rounded[i], exact[i])).toBeLessThanOrEqual(limit * slack);
    }
  });
});
