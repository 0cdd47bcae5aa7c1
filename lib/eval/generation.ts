// Samples of a model of which only the features are kept, in a folder from which a run that was killed goes on.
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor } from '../creation.js';
import { FileError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import type { Pixels } from '../io/decode_image.js';
import { fileError } from '../io/file_error.js';
import { isRecord, readJson } from '../io/json.js';
import { readSafetensors, writeSafetensors } from '../io/safetensors.js';
import { tidy } from '../scope.js';
import type { PictureExtractor } from './extractor.js';
import { FeatureTable, hashBytes, type SetFeatures } from './features.js';
import { pixelHash } from './hash.js';

const planFile = 'plan.json';
const shardFolder = 'features';

/** Pictures between two files at most: what is lost with a process, and what is in memory. */
const shardPictures = 64;
/** Slow models are saved more often. */
const secondsBetweenShards = 60;

/** Pictures to be made, numbered from 0. Each must be a function of its number alone. */
export interface Generation {
  readonly total: number;
  /** Pictures that are best made at once. */
  readonly group: number;
  /** All that decides them: a folder goes on with the same plan only. Plain values. */
  readonly plan: Readonly<Record<string, unknown>>;
  make(pictures: readonly number[], signal?: AbortSignal): Promise<readonly Pixels[]>;
}

export interface GenerateOptions {
  signal?: AbortSignal;
  /** Called with the number of pictures whose features are there. */
  onProgress?: (done: number) => void;
}

/**
 * Makes the pictures that the folder lacks and keeps their features there. Stopped by the signal or killed at any
 * moment, the next call goes on, and the result is the same to the bit: features come in files that are whole or
 * not there, and neither pictures nor features depend on their neighbours.
 *
 * @throws FileError when the folder belongs to another plan, or its files are damaged; the signal's reason, after
 *   the features of all pictures that were made are kept
 */
export async function generateFeatures(
  folder: string,
  generation: Generation,
  extractor: PictureExtractor,
  options: GenerateOptions = {},
): Promise<SetFeatures> {
  const { signal, onProgress } = options;
  await claim(folder, generation, extractor);
  const shards = join(folder, shardFolder);
  const table = new FeatureTable(generation.total, extractor.width, extractor.classes);
  await readShards(shards, table, extractor);
  onProgress?.(table.count);

  let waiting: Pixels[] = [];
  let kept = performance.now();
  const keep = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const rows = await extractor.extract(waiting);
    const hashes = Buffer.concat(waiting.map(pixelHash));
    await writeShard(join(shards, shardName(table.count)), rows, hashes, extractor);
    table.add(rows, hashes);
    waiting = [];
    kept = performance.now();
    onProgress?.(table.count);
  };
  try {
    while (table.count + waiting.length < generation.total) {
      signal?.throwIfAborted();
      const first = table.count + waiting.length;
      const count = Math.min(generation.group, generation.total - first);
      const numbers = Array.from({ length: count }, (_, i) => first + i);
      waiting.push(...(await generation.make(numbers, signal)));
      const late = performance.now() - kept > 1000 * secondsBetweenShards;
      if (waiting.length >= shardPictures || late) await keep();
    }
    await keep();
  } catch (error) {
    if (signal?.aborted && error === signal.reason) await keep();
    throw error;
  }
  return table.sorted();
}

// The folder is empty, or has been used for the same pictures and the same network.
async function claim(
  folder: string,
  { plan, total }: Generation,
  { name, weightsHash, resize }: PictureExtractor,
): Promise<void> {
  const whole = { ...plan, count: total, extractor: { name, weights: weightsHash, resize } };
  const wanted = JSON.parse(JSON.stringify(whole)) as Record<string, unknown>;
  await mkdir(join(folder, shardFolder), { recursive: true }).catch((error: unknown) => {
    throw fileError(folder, 'cannot be created', error);
  });
  const path = join(folder, planFile);
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) {
    if ((await readdir(join(folder, shardFolder))).length > 0)
      throw new FileError('holds features without their plan: choose another folder.', folder);
    await writeFileAtomic(path, `${JSON.stringify(wanted, null, 2)}\n`);
    return;
  }
  const found = await readJson(path);
  if (!isRecord(found)) throw new FileError('is no plan: choose another folder.', path);
  const other = [...new Set([...Object.keys(wanted), ...Object.keys(found)])].filter(
    (key) => JSON.stringify(wanted[key]) !== JSON.stringify(found[key]),
  );
  if (other.length > 0)
    throw new FileError(
      `was begun with another ${other.join(', ')}: call it as then, or choose another folder.`,
      folder,
    );
}

const shardName = (first: number): string => `${String(first).padStart(8, '0')}.safetensors`;

async function writeShard(
  path: string,
  { features, logits }: { features: Float32Array; logits: Float32Array },
  hashes: Uint8Array,
  { width, classes }: PictureExtractor,
): Promise<void> {
  const rows = hashes.byteLength / hashBytes;
  await tidy(() =>
    writeSafetensors(path, {
      features: tensor(features, { shape: [rows, width], device: 'cpu' }),
      logits: tensor(logits, { shape: [rows, classes], device: 'cpu' }),
      hashes: tensor(Uint8Array.from(hashes), { shape: [rows, hashBytes], device: 'cpu' }),
    }),
  );
}

// Files follow one another without a gap; each is named after its first picture.
async function readShards(
  folder: string,
  table: FeatureTable,
  { width, classes }: PictureExtractor,
): Promise<void> {
  const names = new Set(await readdir(folder));
  for (let name = shardName(0); names.has(name); name = shardName(table.count)) {
    const path = join(folder, name);
    const file = await readSafetensors(path);
    const expected = { features: width, logits: classes, hashes: hashBytes };
    const rows = file.has('hashes') ? file.info('hashes').shape[0] : 0;
    for (const [key, extent] of Object.entries(expected)) {
      const shape = file.has(key) ? file.info(key).shape.join(', ') : 'missing';
      const dtype = key === 'hashes' ? 'uint8' : 'float32';
      if (rows < 1 || shape !== `${rows}, ${extent}` || file.info(key).dtype !== dtype)
        throw new FileError(`is no file of features: ${key} is ${shape}. Remove it.`, path);
    }
    const read = async (key: string): Promise<Float32Array | Uint8Array> => {
      const values = await file.get(key);
      try {
        return (await values.to('cpu').data()) as Float32Array | Uint8Array;
      } finally {
        values.dispose();
      }
    };
    const [features, logits] = [await read('features'), await read('logits')] as Float32Array[];
    table.add({ features, logits }, (await read('hashes')) as Uint8Array);
  }
}
