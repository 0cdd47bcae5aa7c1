// How much of what is generated is realistic, and how much of what is real is generated.
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import {
  neighbourRadii,
  pointsOf,
  visitDistances,
  type PairOptions,
  type PairVisitor,
} from './distances.js';
import { checkFeatures } from './features.js';

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
 * Distances are Euclidean, in float64 on the CPU, in blocks: the order of the samples changes nothing. The
 * work grows with N² D, as does that of {@link densityCoverage}.
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
  const R = await pointsOf(metric, 'real', real);
  const G = await pointsOf(metric, 'generated', generated);
  const [densityRadii, realRadii] = await neighbourRadii(R, ks, { signal });
  const [generatedRadii] =
    precisionK === undefined
      ? [new Float64Array(G.squares.length).fill(-1)]
      : await neighbourRadii(G, [precisionK], { signal });

  const realistic = new Uint8Array(G.squares.length);
  const recalled = new Uint8Array(R.squares.length);
  const covered = new Uint8Array(R.squares.length);
  let inside = 0;
  const visit: PairVisitor = (distances, rows, columns) => {
    for (let i = rows.begin, at = 0; i < rows.end; i++) {
      const [ball, denseBall] = [realRadii[i], densityRadii[i]];
      let held = 0;
      for (let j = columns.begin; j < columns.end; j++, at++) {
        const distance = distances[at];
        if (distance <= ball) realistic[j] = 1;
        if (distance <= denseBall) held++;
        if (distance <= generatedRadii[j]) recalled[i] = 1;
      }
      if (held > 0) covered[i] = 1;
      inside += held;
    }
  };
  await visitDistances(R, G, visit, { signal });
  return {
    precision: share(realistic),
    recall: share(recalled),
    density: inside / (densityK * G.squares.length),
    coverage: share(covered),
  };
}

function share(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
}
