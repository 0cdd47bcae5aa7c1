// The kernel distance "KID" (Bińkowski et al., 2018): the squared maximum mean discrepancy of a cubic kernel.
import { check } from '../errors.js';
import { indexSelect } from '../ops/index.js';
import { Generator } from '../random.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { visitProducts, type PairOptions, type PairVisitor } from './distances.js';
import { checkFeatures, scanFeatures } from './features.js';
import { meanStd, type MeanStd } from './mean_std.js';

export interface KernelDistanceOptions extends PairOptions {
  /** Default 100. */
  subsets?: number;
  /** Samples drawn from each set for a subset, without repetition. Default 1000. */
  subsetSize?: number;
  /** Decides which samples are drawn. Default 0. */
  seed?: number;
}

/**
 * Mean and population deviation of {@link polynomialMmd} over random subsets of both sets. Unlike FID it is
 * not biased by the number of samples; it may be slightly negative where the sets hardly differ.
 *
 * Subsets are drawn by position: another order of the samples draws others, within the deviation.
 *
 * @param real [N, D], of Inception-v3 in the literature
 * @param generated [M, D]
 * @throws ArgumentError when a set is smaller than `subsetSize`, or holds NaN
 */
export async function kernelDistance(
  real: Tensor,
  generated: Tensor,
  options: KernelDistanceOptions = {},
): Promise<MeanStd> {
  const { subsets = 100, subsetSize = 1000, seed = 0, signal } = options;
  check(Number.isInteger(subsets) && subsets >= 1, () => {
    return `kernelDistance: subsets must be a positive integer, got ${subsets}`;
  });
  check(Number.isInteger(subsetSize) && subsetSize >= 2, () => {
    return `kernelDistance: subsetSize must be an integer of at least 2, got ${subsetSize}`;
  });
  checkFeatures('kernelDistance', { real, generated }, 2);
  for (const [name, x] of Object.entries({ real, generated })) {
    check(x.shape[0] >= subsetSize, () => {
      const few = `${name} has ${x.shape[0]} samples, fewer than a subset of ${subsetSize}`;
      return `kernelDistance: ${few}. Use more, or pass a smaller subsetSize.`;
    });
    await scanFeatures('kernelDistance', name, x);
  }
  const generator = new Generator(seed);
  const draw = (x: Tensor): Tensor => {
    const order = generator.permutation(x.shape[0], { device: x.device });
    return indexSelect(x.detach(), 0, order.narrow(0, 0, subsetSize));
  };
  const values: number[] = [];
  while (values.length < subsets)
    values.push(await tidy(() => discrepancy(draw(real), draw(generated), { signal })));
  return meanStd(values);
}

/**
 * The unbiased estimate of the squared maximum mean discrepancy for the kernel (x·y / D + 1)³, on all samples
 * at once, in float64 on the CPU and in blocks.
 *
 * @param x [N, D], N ≥ 2
 * @param y [M, D], M ≥ 2
 * @throws ArgumentError when a set has fewer than two samples, or holds NaN
 */
export async function polynomialMmd(
  x: Tensor,
  y: Tensor,
  options: PairOptions = {},
): Promise<number> {
  checkFeatures('polynomialMmd', { x, y }, 2);
  await scanFeatures('polynomialMmd', 'x', x);
  await scanFeatures('polynomialMmd', 'y', y);
  return discrepancy(x, y, options);
}

async function discrepancy(x: Tensor, y: Tensor, { signal }: PairOptions): Promise<number> {
  const [N, D] = x.shape;
  const M = y.shape[0];
  const kernel = (product: number): number => (product / D + 1) ** 3;

  // Σ k(xᵢ, xⱼ) over i ≠ j
  const within = async (set: Tensor): Promise<number> => {
    let sum = 0;
    const visit: PairVisitor = (products, rows, columns) => {
      let block = 0;
      for (let i = rows.begin, at = 0; i < rows.end; i++)
        for (let j = columns.begin; j < columns.end; j++, at++)
          if (i !== j) block += kernel(products[at]);
      sum += rows.begin === columns.begin ? block : 2 * block;
    };
    await visitProducts(set, set, visit, { signal, upperHalf: true });
    return sum;
  };
  let across = 0;
  const addAcross: PairVisitor = (products) => {
    across += products.reduce((sum, product) => sum + kernel(product), 0);
  };
  await visitProducts(x, y, addAcross, { signal });
  const [xx, yy] = [await within(x), await within(y)];
  return xx / (N * (N - 1)) + yy / (M * (M - 1)) - (2 * across) / (N * M);
}
