// 3x3 convolutions by Winograd's minimal filtering are no less exact than PyTorch's direct sums: the
// choice of a form and of the length of its chains of additions hangs on these figures.
import { describe, expect, it } from 'vitest';
import {
  conv2d,
  device,
  grad,
  matmul,
  noise,
  tensor,
  type DType,
  type Tensor,
} from '../lib/index.js';

/**
 * What PyTorch 2.13's errors are on two AVX-512 cores: norm of the difference from float64 over its
 * norm, inputs normal, filters of variance 1 / (9 C). `weight` is null where the transforms' own
 * roundings exceed the sum's, with up to some 2000 pixels.
 */
const pytorch: [shape: number[], forward: number, input: number, weight: number | null][] = [
  [[8, 64, 32, 32], 3.02e-7, 3.02e-7, 5.0e-7],
  [[32, 16, 48, 48], 3.61e-7, 3.62e-7, 2.97e-7],
  [[8, 32, 64, 64], 4.24e-7, 4.25e-7, 3.0e-7],
  [[32, 16, 96, 96], 5.1e-7, 5.1e-7, 2.94e-7],
  [[16, 16, 128, 128], 5.91e-7, 5.9e-7, 2.91e-7],
  [[16, 8, 192, 192], 6.97e-7, 6.97e-7, null],
  [[1, 64, 224, 224], 7.97e-7, 7.97e-7, 2.66e-7],
  [[16, 8, 256, 256], 8.07e-7, 8.08e-7, null],
  [[1, 32, 448, 448], 1.12e-6, 1.12e-6, null],
  [[1, 16, 672, 672], 1.01e-6, 1.01e-6, null],
  [[1, 8, 896, 896], 1.15e-6, 1.15e-6, null],
  [[1, 256, 64, 64], 4.28e-7, 4.29e-7, 9.14e-7],
  [[1, 256, 128, 128], 6.03e-7, 6.03e-7, 9.1e-7],
];

/** Whether products reach their sums unrounded: not without multiply-add instructions, nor under a sanitizer. */
async function fused(): Promise<boolean> {
  const x = 1 + 2 ** -12;
  const rounded = Math.fround(x * x);
  const a = tensor([rounded, x]).expand([20, 2]);
  const b = tensor([-1, x], { shape: [2, 1] }).expand([2, 40]);
  return Number(await matmul(a, b).abs().max().item()) > 0;
}
const slack = (await fused()) ? 1 : 1.1;

function results(dtype: DType, [n, side, c, k]: number[]): Tensor[] {
  const cpu = device('cpu');
  const make = (seed: number, scale: number, ...shape: number[]): Tensor =>
    noise(shape, { seed, device: cpu }).mul(scale).to(dtype).detach();
  const x = make(1, 1, n, side, side, c);
  const weight = make(2, 1 / Math.sqrt(9 * c), k, 3, 3, c);
  for (const leaf of [x, weight]) leaf.requiresGrad = true;
  const y = conv2d(x, weight, null, { padding: 1 });
  return [y, ...grad(y, [x, weight], { gradOutput: make(3, 1, ...y.shape) })];
}

const norm = async (x: Tensor): Promise<number> => Math.sqrt(Number(await x.square().sum().item()));

describe('3x3 convolution in float32', () => {
  it.each(pytorch)('is as exact as PyTorch: %j', async (shape, ...theirs) => {
    const rounded = results('float32', shape);
    const exact = results('float64', shape);
    for (const [i, limit] of theirs.entries()) {
      if (limit === null) continue;
      const error = await norm(rounded[i].detach().to('float64').sub(exact[i].detach()));
      expect(error / (await norm(exact[i].detach()))).toBeLessThanOrEqual(limit * slack);
    }
  });
});
