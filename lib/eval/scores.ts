// What a set of samples scores against a reference: every metric that the two allow.
import { ArgumentError } from '../errors.js';
import { frechetDistance } from '../metrics/frechet.js';
import { inceptionScore } from '../metrics/inception_score.js';
import { kernelDistance } from '../metrics/kernel_distance.js';
import type { MeanStd } from '../metrics/mean_std.js';
import { neighbourScores } from '../metrics/precision_recall.js';
import { covarianceWarning } from '../metrics/statistics.js';
import { momentsOf, type SetFeatures } from './features.js';
import type { Reference } from './reference.js';

/** Names of the scores in the order in which they are shown, and which way is better. */
export const scoreNames = {
  fid: 'lower',
  kid: 'lower',
  inceptionScore: 'higher',
  precision: 'higher',
  recall: 'higher',
  density: 'higher',
  coverage: 'higher',
  psnr: 'higher',
  ssim: 'higher',
  lpips: 'lower',
} as const;
export type ScoreName = keyof typeof scoreNames;

/** Scores by name; those that could not be had are missing. */
export type Scores = Partial<Record<ScoreName, number | MeanStd>>;

/** Numbers that decide metrics beside the features. */
export interface MetricParameters {
  kidSubsets: number;
  kidSubsetSize: number;
  kidSeed: number;
  splits: number;
  precisionNeighbours: number;
  coverageNeighbours: number;
}

export interface ScoreOptions {
  signal?: AbortSignal;
  /** Leaves the metrics out whose work grows with the square of the number of pictures. */
  neighbours?: boolean;
  /** Told what is computed. */
  onStage?: (what: string) => void;
}

export interface SetScores {
  readonly scores: Scores;
  readonly parameters: MetricParameters;
  /** What to keep in mind, or why a score is missing, in sentences. */
  readonly notes: readonly string[];
}

/**
 * FID, KID, Inception score, precision, recall, density and coverage.
 *
 * A small set still gives what it can: KID draws subsets of 1000, or of half the smaller set; the Inception score
 * takes ten splits, or one for fewer than a hundred pictures; neighbours want more pictures than the fifth.
 *
 * @throws ArgumentError for fewer than two samples
 */
export async function scoreSets(
  samples: SetFeatures,
  reference: Reference,
  { signal, neighbours = true, onStage }: ScoreOptions = {},
): Promise<SetScores> {
  const { features, logits } = samples;
  const [count, width] = features.shape;
  if (count < 2)
    throw new ArgumentError(
      'one picture is no set: at least 2 samples are needed, far more for FID.',
    );
  const real = reference.features;
  const smaller = Math.min(count, real?.shape[0] ?? 0);
  const parameters: MetricParameters = {
    ...{ kidSubsets: 100, kidSeed: 0 },
    // Pairs within a subset are what is compared: it needs two.
    kidSubsetSize: Math.min(1000, Math.max(2, Math.ceil(smaller / 2))),
    splits: count < 100 ? 1 : 10,
    ...{ precisionNeighbours: 3, coverageNeighbours: 5 },
  };
  const notes: string[] = [];
  for (const [whose, pictures] of [
    ['the samples', count],
    ['the reference', reference.count],
  ] as const) {
    const warning = pictures === null ? undefined : covarianceWarning(pictures, width);
    if (warning !== undefined) notes.push(`Of ${whose}: ${warning}`);
  }

  const scores: Scores = {};
  const stage = (what: string): void => {
    signal?.throwIfAborted();
    onStage?.(what);
  };
  stage('FID');
  scores.fid = await frechetDistance(await momentsOf(features), reference.moments);
  if (real === null)
    notes.push(
      'The reference holds moments alone: KID, precision, recall, density and coverage need its pictures.',
    );
  else {
    stage('KID');
    scores.kid = await kernelDistance(real, features, {
      ...{ subsets: parameters.kidSubsets, subsetSize: parameters.kidSubsetSize, signal },
      seed: parameters.kidSeed,
    });
  }
  stage('Inception score');
  scores.inceptionScore = await inceptionScore(logits, { splits: parameters.splits });
  if (real !== null && neighbours) {
    if (smaller <= parameters.coverageNeighbours)
      notes.push(
        `Precision, recall, density and coverage need more than ${parameters.coverageNeighbours} pictures in both sets.`,
      );
    else {
      stage('precision and recall');
      Object.assign(scores, await neighbourScores(real, features, { signal }));
    }
  }
  return { scores, parameters, notes };
}
