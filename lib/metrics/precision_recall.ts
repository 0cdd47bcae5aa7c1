// How much of what is generated is realistic, and how much of what is real is generated.
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import {
  neighbourRadii,
  pointsOf,
  visitDistances,
  type PairOptions,
  type Points,
} from './distances.js';
import { checkFeatures } from './features.js';

export interface NeighbourOptions extends PairOptions {
  /** Each point's ball reaches to its k-th nearest neighbour. Default 3 (`precisionRecall`), 5 (`densityCoverage`). */
  k?: number;
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
): Promise<{ precision: number; recall: number }> {
  const [R, G] = await bothPoints('precisionRecall', real, generated, k);
  const realRadii = await neighbourRadii(R, k, { signal });
  const generatedRadii = await neighbourRadii(G, k, { signal });
  const realistic = new Uint8Array(G.squares.length);
  const covered = new Uint8Array(R.squares.length);
  await visitPairs(R, G, { signal }, (i, j, distance) => {
    if (distance <= realRadii[i]) realistic[j] = 1;
    if (distance <= generatedRadii[j]) covered[i] = 1;
  });
  return { precision: share(realistic), recall: share(covered) };
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
): Promise<{ density: number; coverage: number }> {
  const [R, G] = await bothPoints('densityCoverage', real, generated, k);
  const radii = await neighbourRadii(R, k, { signal });
  const covered = new Uint8Array(R.squares.length);
  let inside = 0;
  await visitPairs(R, G, { signal }, (i, _, distance) => {
    if (distance > radii[i]) return;
    inside++;
    covered[i] = 1;
  });
  return { density: inside / (k * G.squares.length), coverage: share(covered) };
}

async function bothPoints(
  metric: string,
  real: Tensor,
  generated: Tensor,
  k: number,
): Promise<[Points, Points]> {
  check(Number.isInteger(k) && k >= 1, () => {
    return `${metric}: k must be a positive integer, got ${k}`;
  });
  checkFeatures(metric, { real, generated }, k + 1);
  return [await pointsOf(metric, 'real', real), await pointsOf(metric, 'generated', generated)];
}

function visitPairs(
  x: Points,
  y: Points,
  options: PairOptions,
  visit: (i: number, j: number, distance: number) => void,
): Promise<void> {
  return visitDistances(
    x,
    y,
    (distances, rows, columns) => {
      for (let i = rows.begin, at = 0; i < rows.end; i++)
        for (let j = columns.begin; j < columns.end; j++, at++) visit(i, j, distances[at]);
    },
    options,
  );
}

function share(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
}
