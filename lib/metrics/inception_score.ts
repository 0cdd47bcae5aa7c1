// The Inception score (Salimans et al., 2016).
import { check } from '../errors.js';
import { Generator } from '../random.js';
import type { Tensor } from '../tensor.js';
import { checkFeatures, scanFeatures } from './features.js';
import { meanStd, type MeanStd } from './mean_std.js';

export interface InceptionScoreOptions {
  /** Parts of equal size, scored apart. Default 10. */
  splits?: number;
  /** What a row holds. Default `logits`. */
  input?: 'logits' | 'probabilities';
  /**
   * Shuffles the samples before they are split: a must where they come class by class, since a part of few
   * classes scores low. Default: parts are consecutive samples.
   */
  shuffleSeed?: number;
}

/** What the sum of a row of single-precision probabilities may lack. */
const sumTolerance = 1e-3;

/**
 * exp of the mean divergence of a sample's classes from those of its split, Σ p log(p / p̄): mean and population
 * deviation over the splits, in float64. It lies between 1 and the number of classes.
 *
 * @param outputs [N, classes] of a classifier. The literature takes Inception-v3's 1008 logits without their bias.
 * @throws ArgumentError for fewer samples than splits, for NaN, or for probabilities that are negative or do not
 *   sum to 1
 */
export async function inceptionScore(
  outputs: Tensor,
  options: InceptionScoreOptions = {},
): Promise<MeanStd> {
  const { splits = 10, input = 'logits', shuffleSeed } = options;
  check(Number.isInteger(splits) && splits >= 1, () => {
    return `inceptionScore: splits must be a positive integer, got ${splits}`;
  });
  check(input === 'logits' || input === 'probabilities', () => {
    return `inceptionScore: input must be logits or probabilities, got ${String(input)}`;
  });
  checkFeatures('inceptionScore', { outputs }, splits);
  const [count, classes] = outputs.shape;
  const splitOf = await assignSplits(count, splits, shuffleSeed);
  const parts = Array.from({ length: splits }, () => new Split(classes));
  const toProbabilities = input === 'logits' ? softmax : checked;
  await scanFeatures('inceptionScore', 'outputs', outputs, (row, i) => {
    parts[splitOf(i)].add(toProbabilities(row, i));
  });
  return meanStd(parts.map((part) => part.score()));
}

// Split s holds the positions from ⌊s N / splits⌋ on, as torch-fidelity divides them; shuffled or not.
async function assignSplits(
  count: number,
  splits: number,
  seed: number | undefined,
): Promise<(sample: number) => number> {
  const split = (position: number) => Math.ceil(((position + 1) * splits) / count) - 1;
  if (seed === undefined) return split;
  const order = new Generator(seed).permutation(count, { device: 'cpu' });
  const positions = await order.data();
  order.dispose();
  return (sample) => split(Number(positions[sample]));
}

/** Sums over the samples of a split: the mean of Σ p log p less Σ p̄ log p̄ is the mean divergence. */
class Split {
  #count = 0;
  #negativeEntropy = 0;
  readonly #sums: Float64Array;

  constructor(classes: number) {
    this.#sums = new Float64Array(classes);
  }

  add(probabilities: Float64Array): void {
    this.#count++;
    this.#negativeEntropy += negativeEntropy(probabilities);
    for (let c = 0; c < probabilities.length; c++) this.#sums[c] += probabilities[c];
  }

  score(): number {
    const marginal = this.#sums.map((sum) => sum / this.#count);
    return Math.exp(this.#negativeEntropy / this.#count - negativeEntropy(marginal));
  }
}

// Σ p log p, where 0 log 0 is 0.
function negativeEntropy(probabilities: Float64Array): number {
  let sum = 0;
  for (const p of probabilities) if (p > 0) sum += p * Math.log(p);
  return sum;
}

function softmax(logits: Float64Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function checked(row: Float64Array, i: number): Float64Array {
  const sum = row.reduce((a, b) => a + b, 0);
  check(Math.abs(sum - 1) <= sumTolerance && row.every((p) => p >= 0), () => {
    return `inceptionScore: row ${i} is no distribution: its sum is ${sum}. Pass logits, or take the softmax first.`;
  });
  return row;
}
