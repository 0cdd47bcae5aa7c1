// Mean and covariance of features, gathered batch by batch and kept as the usual FID tools keep them.
import { check, checkShape, FileError } from '../errors.js';
import { readNpz, writeNpz } from '../io/npz.js';
import { describeNpz } from '../io/npz_rows.js';
import type { NpyArray } from '../io/npy.js';
import { matmul } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { blocksOf, checkFeatures, readBlock, scanFeatures } from './features.js';
import type { FeatureMoments } from './frechet.js';

/**
 * Mean and unbiased covariance of any number of features, in float64 and D² memory: each batch's deviations
 * from its own mean are merged with those so far (Chan et al., 1979), which stays accurate where the mean
 * is far from 0.
 *
 * The order and the size of the batches change the result by rounding only (some 1e-15 of the largest
 * variance), and so does merging parts that were gathered apart.
 */
export class FeatureStatistics {
  #count = 0;
  #mean: Float64Array = new Float64Array(0);
  #scatter: Float64Array = new Float64Array(0); // Σ (x − mean)(x − mean)ᵀ

  /** Samples so far. */
  get count(): number {
    return this.#count;
  }

  /** Width of the features; 0 before the first batch. */
  get width(): number {
    return this.#mean.length;
  }

  /**
   * Says why a distance from these would mislead, if it would: with as few samples as dimensions the
   * covariance is singular, and FID far too large.
   */
  get warning(): string | undefined {
    return covarianceWarning(this.#count, this.width);
  }

  /**
   * Adds a batch.
   *
   * @param features [N, D], floating or uint8, on any device
   * @throws ShapeError when the width is not that of earlier batches; ArgumentError that names the row
   *   when a value is not finite. Nothing of the batch is added then.
   */
  async update(features: Tensor): Promise<void> {
    checkFeatures('FeatureStatistics', { features }, 0);
    this.#checkWidth(features.shape[1]);
    await scanFeatures('FeatureStatistics', 'features', features);
    const batch = new FeatureStatistics();
    const [count, width] = features.shape;
    for (const block of blocksOf(count, width))
      batch.#merge(block.end - block.begin, ...(await deviations(readBlock(features, block))));
    this.merge(batch);
  }

  /** Adds what another has gathered; the other stays as it is. */
  merge(other: FeatureStatistics): void {
    if (other.count === 0) return;
    this.#checkWidth(other.width);
    this.#merge(other.count, other.#mean, other.#scatter);
  }

  #checkWidth(width: number): void {
    checkShape(this.width === 0 || this.width === width, () => {
      return `FeatureStatistics: expected features of width ${this.width} as before, got ${width}`;
    });
  }

  #merge(count: number, mean: Float64Array, scatter: Float64Array): void {
    if (this.#count === 0) {
      [this.#count, this.#mean, this.#scatter] = [count, mean.slice(), scatter.slice()];
      return;
    }
    const total = this.#count + count;
    const weight = (this.#count * count) / total;
    const delta = mean.map((value, i) => value - this.#mean[i]);
    const sums = this.#scatter;
    const n = delta.length;
    for (let i = 0, at = 0; i < n; i++) {
      for (let j = 0; j < n; j++, at++) sums[at] += scatter[at] + delta[i] * delta[j] * weight;
      this.#mean[i] += (delta[i] * count) / total;
    }
    this.#count = total;
  }

  /**
   * Mean and covariance with N − 1, copied.
   * @throws ArgumentError for fewer than two samples
   */
  moments(): FeatureMoments {
    check(this.#count >= 2, () => {
      return `FeatureStatistics: a covariance needs at least 2 samples, got ${this.#count}.`;
    });
    const covariance = this.#scatter.map((sum) => sum / (this.#count - 1));
    return { mean: this.#mean.slice(), covariance };
  }
}

/** The `warning` of statistics of which only the numbers of samples and dimensions are known. */
export function covarianceWarning(count: number, width: number): string | undefined {
  if (count > width) return undefined;
  const given = `${count} samples of ${width} dimensions`;
  return `The covariance of ${given} is singular: FID is biased upwards. Use several times as many samples as dimensions.`;
}

// Mean of the rows, and Σ (x − mean)(x − mean)ᵀ. The block is disposed.
async function deviations(block: Tensor): Promise<[Float64Array, Float64Array]> {
  try {
    return await tidy(async () => {
      const mean = block.mean(0);
      const centred = block.sub(mean);
      const scatter = matmul(centred, centred, { transposeA: true });
      return [(await mean.data()) as Float64Array, (await scatter.data()) as Float64Array];
    });
  } finally {
    block.dispose();
  }
}

/**
 * Writes `mu` [D] and `sigma` [D, D] in float64 to a .npz file, as pytorch-fid, torch-fidelity's users and
 * the ADM evaluator exchange them.
 *
 * @param more further arrays, which those tools leave alone
 */
export async function saveMoments(
  path: string,
  moments: FeatureMoments,
  more: Readonly<Record<string, NpyArray>> = {},
): Promise<void> {
  const { mean, covariance } = moments;
  const n = mean.length;
  await writeNpz(path, [
    ['mu', { shape: [n], dtype: 'float64', data: mean }],
    ['sigma', { shape: [n, n], dtype: 'float64', data: covariance }],
    ...Object.entries(more),
  ]);
}

/**
 * Reads `mu` and `sigma` of a .npz file, whoever wrote it; float32 is widened.
 * @throws FileError when the file is damaged, lacks them, or their shapes do not belong together
 */
export async function loadMoments(path: string): Promise<FeatureMoments> {
  const names = ['mu', 'sigma'];
  const arrays = await readNpz(path, { names });
  const read: NpyArray[] = [];
  for (const name of names) {
    const array = arrays.get(name);
    if (array && /^float/.test(array.dtype)) {
      read.push(array);
      continue;
    }
    const others = array ? [] : [...(await describeNpz(path)).keys()];
    const found = array ? `of ${array.dtype}` : `missing: it has ${others.join(', ')}`;
    throw new FileError(`no statistics of features: ${name} is ${found}.`, path);
  }
  const [mu, sigma] = read;
  const n = mu.shape[0];
  if (mu.shape.length !== 1 || String(sigma.shape) !== String([n, n])) {
    const shapes = `[${mu.shape.join(', ')}] and [${sigma.shape.join(', ')}]`;
    const text = `mu and sigma have shapes ${shapes}, expected [D] and [D, D].`;
    throw new FileError(text, path);
  }
  return { mean: wide(mu), covariance: wide(sigma) };
}

function wide({ data }: NpyArray): Float64Array {
  return data instanceof Float64Array ? data : Float64Array.from(data as Float32Array);
}
