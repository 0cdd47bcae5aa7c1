// What samples are compared with: statistics that somebody computed, or pictures whose features are kept for the
// next time.
import { join } from 'node:path';
import { mkdir, stat } from 'node:fs/promises';
import { tensor } from '../creation.js';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { readNpz } from '../io/npz.js';
import { describeNpz } from '../io/npz_rows.js';
import type { FeatureMoments } from '../metrics/frechet.js';
import { loadMoments, saveMoments } from '../metrics/statistics.js';
import type { Tensor } from '../tensor.js';
import type { PictureExtractor } from './extractor.js';
import { extractSet, momentsOf } from './features.js';
import { fileHash, sha256 } from './hash.js';
import { openPictureSet, type PictureSetOptions } from './picture_set.js';

/** A set that others are measured against. */
export interface Reference {
  readonly moments: FeatureMoments;
  /** [N, D], float32 on the CPU; null where only the moments are known. Whoever asked for it disposes it. */
  readonly features: Tensor | null;
  /** Of pictures; null where a file of statistics does not say. */
  readonly count: number | null;
  /** SHA-256 of the pictures' names and bytes, or of the file of statistics. */
  readonly hash: string;
  /** Whether its features had been kept from an earlier time. */
  readonly kept: boolean;
}

export interface ReferenceOptions extends PictureSetOptions {
  signal?: AbortSignal;
  /** Called before pictures are sent through the network; gives what is told how many are done. */
  onStart?: (count: number) => (done: number) => void;
  /** Folder where features are kept. Default: they are not. */
  cache?: string;
}

/**
 * The reference at a path: a folder of pictures, a .npz file of pictures, or one of statistics (`mu`, `sigma`),
 * as pytorch-fid, torch-fidelity's users, the ADM evaluator and {@link saveReference} write them. Where a file
 * holds both, the distance of the moments takes its statistics and all else its pictures, as that evaluator does.
 *
 * @throws FileError when there is no such thing, its features are of another network's width, or the file says that
 *   they were taken by other weights, resized otherwise, or of pictures cut to another size
 */
export async function openReference(
  path: string,
  extractor: PictureExtractor,
  options: ReferenceOptions = {},
): Promise<Reference> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  if (entry.isDirectory()) return ofPictures(path, extractor, options);
  const arrays = await describeNpz(path);
  const moments = arrays.has('mu') ? await loadMoments(path) : undefined;
  if (moments && moments.mean.length !== extractor.width)
    throw new FileError(
      `holds statistics of ${moments.mean.length} features, but ${extractor.name} has ${extractor.width}.`,
      path,
    );
  if (!moments || arrays.has('arr_0')) {
    const pictures = await ofPictures(path, extractor, options);
    return moments ? { ...pictures, moments } : pictures;
  }
  if (arrays.has(originName)) await checkOrigin(path, originOf(extractor, options));
  const features = arrays.has('features') ? await keptFeatures(path, extractor.width) : null;
  const hash = await fileHash(path);
  return { moments, features, count: features?.shape[0] ?? null, hash, kept: false };
}

async function ofPictures(
  path: string,
  extractor: PictureExtractor,
  options: ReferenceOptions,
): Promise<Reference> {
  const set = await openPictureSet(path, options);
  if (set.count < 2)
    throw new FileError('one picture is no reference: at least 2 pictures are needed.', path);
  const hash = await set.hash(options.signal);
  const { cache } = options;
  const kept =
    cache === undefined ? undefined : join(cache, `${keyOf(hash, extractor, options)}.npz`);
  if (kept !== undefined) {
    const found = await readKept(kept, extractor.width);
    if (found) return { ...found, count: found.features.shape[0], hash, kept: true };
  }
  const { features, logits } = await extractSet(set, extractor, {
    signal: options.signal,
    onProgress: options.onStart?.(set.count),
  });
  logits.dispose();
  const moments = await momentsOf(features);
  if (kept !== undefined) {
    await mkdir(cache!, { recursive: true }).catch((error: unknown) => {
      throw fileError(cache!, 'cannot be created', error);
    });
    await saveReference(kept, { moments, features, origin: originOf(extractor, options) });
  }
  return { moments, features, count: set.count, hash, kept: false };
}

/** Everything that decides features of a set; the number is that of this file's arithmetic. */
function keyOf(hash: string, extractor: PictureExtractor, options: PictureSetOptions): string {
  const { name, weights, resize, size } = originOf(extractor, options);
  return sha256(JSON.stringify([1, hash, name, weights, resize, size]));
}

/** What features were taken by: others do not compare with them. */
export interface FeatureOrigin {
  /** The extractor. */
  readonly name: PictureExtractor['name'];
  /** SHA-256 of its weights. */
  readonly weights: string;
  readonly resize: PictureExtractor['resize'];
  /** Side that pictures were cut to; null: as they were. */
  readonly size: number | null;
}

/** The origin of features that this extractor takes of a set opened with these options. */
export function originOf(
  { name, weightsHash: weights, resize }: PictureExtractor,
  { size }: PictureSetOptions = {},
): FeatureOrigin {
  return { name, weights, resize, size: size ?? null };
}

/** Array of a reference file that holds its origin: JSON as bytes. */
const originName = 'origin';

/**
 * Writes `mu`, `sigma`, the features themselves and what they were taken by to a .npz file, which the usual tools
 * take for their statistics and {@link openReference} for all of its metrics.
 */
export async function saveReference(
  path: string,
  reference: { moments: FeatureMoments; features: Tensor; origin: FeatureOrigin },
): Promise<void> {
  const { moments, features, origin } = reference;
  const data = (await features.data()) as Float32Array;
  const bytes = new TextEncoder().encode(JSON.stringify(origin));
  await saveMoments(path, moments, {
    features: { shape: features.shape, dtype: 'float32', data },
    [originName]: { shape: [bytes.length], dtype: 'uint8', data: bytes },
  });
}

/** @throws FileError when the file's features have another origin */
async function checkOrigin(path: string, expected: FeatureOrigin): Promise<void> {
  const array = (await readNpz(path, { names: [originName] })).get(originName)!;
  let found: Readonly<Record<string, unknown>>;
  try {
    found = JSON.parse(Buffer.from(array.data as Uint8Array).toString()) as typeof found;
  } catch {
    throw new FileError(`its '${originName}' is no JSON. Write the reference again.`, path);
  }
  const others = Object.entries(expected).filter(([key, value]) => found?.[key] !== value);
  if (others.length === 0) return;
  const told = others.map(([key, value]) => {
    return `${key} ${JSON.stringify(found?.[key])} instead of ${JSON.stringify(value)}`;
  });
  throw new FileError(
    `holds features taken otherwise: ${told.join(', ')}. Measure in the same way, or write the reference again.`,
    path,
  );
}

// A damaged file is no reason to fail: it is made again.
async function readKept(
  path: string,
  width: number,
): Promise<{ moments: FeatureMoments; features: Tensor } | undefined> {
  try {
    const moments = await loadMoments(path);
    if (moments.mean.length !== width) return undefined;
    return { moments, features: await keptFeatures(path, width) };
  } catch (error) {
    if (error instanceof FileError) return undefined;
    throw error;
  }
}

async function keptFeatures(path: string, width: number): Promise<Tensor> {
  const array = (await readNpz(path, { names: ['features'] })).get('features');
  if (array?.dtype !== 'float32' || array.shape.length !== 2 || array.shape[1] !== width) {
    const found = array ? `${array.dtype} [${array.shape.join(', ')}]` : 'missing';
    throw new FileError(`features are ${found}, expected float32 [N, ${width}].`, path);
  }
  return tensor(array.data as Float32Array, { shape: [...array.shape], device: 'cpu' });
}
