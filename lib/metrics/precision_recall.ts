// How much of what is generated is realistic, and how much of what is real is generated.
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import {
  centreOf,
  neighbourRadii,
  visitBounded,
  type BoundedDistances,
} from './bounded_distances.js';
import type { PairOptions } from './distances.js';
import { checkFeatures, scanFeatures } from './features.js';

export interface NeighbourOptions extends PairOptions {
  /** Each point's ball reaches to its k-th nearest neighbour. Default 3 (`precisionRecall`), 5 (`densityCoverage`). */
  k?: number;
}

/** What two sets share, see {@link precisionRecall} and {@link densityCoverage}. */
export interface NeighbourScores {
  precision: number;
  recall: number;
  density: number;
  coverage: number;
}

/**
 * Improved precision and recall (Kynkäänniemi et al., 2019): the share of generated samples inside the
 * ball of any real one, and of real samples inside the ball of any generated one. A ball reaches to the k-th
 * nearest neighbour in its own set and includes its surface.
 *
 * Distances are Euclidean and decided as in float64, on the CPU and in blocks: the order of the samples changes
 * nothing. The work grows with N² D, as does that of {@link densityCoverage}.
 *
 * @param real [N, D], of Inception-v3 in the literature
 * @param generated [M, D]
 * @throws ArgumentError when a set has k samples or fewer, or holds NaN
 */
export async function precisionRecall(
  real: Tensor,
  generated: Tensor,
  { k = 3, signal }: NeighbourOptions = {},
): Promise<Pick<NeighbourScores, 'precision' | 'recall'>> {
  const { precision, recall } = await compare('precisionRecall', real, generated, {
    ...{ precisionK: k, densityK: k, signal },
  });
  return { precision, recall };
}

/**
 * Density and coverage (Naeem et al., 2020): the mean number of real balls that hold a generated sample,
 * divided by k (it may exceed 1), and the share of real balls that hold any. One real outlier moves them
 * less than precision and recall. Otherwise as {@link precisionRecall}.
 *
 * @param real [N, D]
 * @param generated [M, D]
 * @throws ArgumentError when a set has k samples or fewer, or holds NaN
 */
export async function densityCoverage(
  real: Tensor,
  generated: Tensor,
  { k = 5, signal }: NeighbourOptions = {},
): Promise<Pick<NeighbourScores, 'density' | 'coverage'>> {
  const { density, coverage } = await compare('densityCoverage', real, generated, {
    ...{ densityK: k, signal },
  });
  return { density, coverage };
}

/**
 * {@link precisionRecall} with its default of k and {@link densityCoverage} with its own, for the work of one.
 * @throws ArgumentError when a set has 5 samples or fewer, or holds NaN
 */
export function neighbourScores(
  real: Tensor,
  generated: Tensor,
  { signal }: PairOptions = {},
): Promise<NeighbourScores> {
  return compare('neighbourScores', real, generated, { precisionK: 3, densityK: 5, signal });
}

async function compare(
  metric: string,
  real: Tensor,
  generated: Tensor,
  // without the former, the balls of generated samples are not looked for
  { precisionK, densityK, signal }: PairOptions & { precisionK?: number; densityK: number },
): Promise<NeighbourScores> {
  const ks = [densityK, precisionK ?? densityK];
  for (const k of ks)
    check(Number.isInteger(k) && k >= 1, () => {
      return `${metric}: k must be a positive integer, got ${k}`;
    });
  checkFeatures(metric, { real, generated }, Math.max(...ks) + 1);
  await scanFeatures(metric, 'real', real);
  await scanFeatures(metric, 'generated', generated);
  const [N, M] = [real.shape[0], generated.shape[0]];
  const [denseRadii, realRadii] = await neighbourRadii(real, ks, { signal });
  const [generatedRadii] =
    precisionK === undefined
      ? [new Float64Array(M).fill(-1)]
      : await neighbourRadii(generated, [precisionK], { signal });

  const [realistic, recalled, covered] = [new Uint8Array(M), new Uint8Array(N), new Uint8Array(N)];
  let inside = 0;
  const visit = (distances: BoundedDistances): void => {
    const { rows, columns, products, below, columnsBelow } = distances;
    for (let i = 0, at = 0; i < below.length; i++) {
      const row = rows.begin + i;
      const [ball, denseBall] = [realRadii[row], denseRadii[row]];
      const reach = Math.max(ball, denseBall);
      for (let j = 0; j < columnsBelow.length; j++, at++) {
        const column = columns.begin + j;
        const least = below[i] + columnsBelow[j] - 2 * products[at];
        if (least > reach && least > generatedRadii[column]) continue;
        if (!realistic[column] && distances.within(i, j, ball)) realistic[column] = 1;
        if (!recalled[row] && distances.within(i, j, generatedRadii[column])) recalled[row] = 1;
        if (!distances.within(i, j, denseBall)) continue;
        inside++;
        covered[row] = 1;
      }
    }
  };
  const centre = await centreOf(real);
  try {
    await visitBounded(real, generated, centre, visit, { signal });
  } finally {
    centre.dispose();
  }
  return {
    precision: share(realistic),
    recall: share(recalled),
    density: inside / (densityK * M),
    coverage: share(covered),
  };
}

function share(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
}
