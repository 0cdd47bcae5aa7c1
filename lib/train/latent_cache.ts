// Latents of a data set, encoded once: a second stage then trains without the first, which is most of its time.
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { noGrad } from '../autograd/index.js';
import type { DataSource, ImageBatch } from '../data/index.js';
import { permutation } from '../data/philox.js';
import { check, FileError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { fileError } from '../io/file_error.js';
import { readSafetensors, writeSafetensors, type SafetensorsFile } from '../io/index.js';
import {
  AutoencoderKL,
  DiagonalGaussian,
  type DiffusionBatch,
  type FirstStage,
} from '../ldm/index.js';
import { cast, permute, stack } from '../ops/index.js';
import { tidy } from '../scope.js';
import { tensor } from '../creation.js';
import type { Tensor } from '../tensor.js';

/** What {@link LatentCache} gives. */
export interface CachedBatch {
  /**
   * [N, h, w, C] of a VQ model: unscaled latents; [N, h, w, 2C] of a KL model: its posteriors' means and
   * log-variances, so that every epoch draws its own samples.
   */
  moments: Tensor;
  /** Which pictures of the data set these are. */
  index: number[];
  /** Only where the data set has labels. */
  label?: number[];
}

export interface CacheLatentsOptions {
  /** Of what is stored. Default `'float32'`; `'float16'` takes half the room. */
  dtype?: 'float32' | 'float16';
  /** Pictures in a file. Default 1024. */
  shardSize?: number;
  /** Says what the latents are of, for {@link originOfLatents}. Default: nothing does. */
  origin?: string;
  /** Told the number of pictures encoded so far. */
  onProgress?: (images: number) => void;
  signal?: AbortSignal;
}

export interface LatentCacheOptions {
  batchSize: number;
  /** Decides the order. Default 23. */
  seed?: number;
  /** Whether `batches()` takes each epoch in an order of its own. Default true. */
  shuffle?: boolean;
  /** Whether `batches()` leaves out the last, short batch of an epoch. Default true. */
  dropLast?: boolean;
}

interface Index {
  version: number;
  /** whether posteriors are stored, or latents */
  posterior: boolean;
  count: number;
  /** [h, w, channels] of what is stored */
  shape: [number, number, number];
  shardSize: number;
  labels: boolean;
  /** of what; missing where nobody said so */
  origin?: string;
}

const version = 1;
const indexFile = 'index.json';
const largestIndex = 64 * 1024;
const shardName = (shard: number) => `latents-${String(shard).padStart(6, '0')}.safetensors`;

/**
 * Encodes a data set, once through, into a folder for {@link LatentCache}: safetensors files with a tensor
 * [C, h, w] for each picture. Crops and flips are those of this one pass. The folder counts as complete only
 * when all are written; one that was complete does not from the first file on.
 *
 * @throws ArgumentError when the data are empty or their latents differ in size; FileError when a file cannot be
 *   written
 */
export async function cacheLatents(
  stage: FirstStage,
  data: DataSource<ImageBatch>,
  folder: string,
  options: CacheLatentsOptions = {},
): Promise<void> {
  const { dtype = 'float32', shardSize = 1024, origin, onProgress, signal } = options;
  check(Number.isInteger(shardSize) && shardSize >= 1, () => {
    return `cacheLatents: shardSize must be an integer of at least 1, got ${shardSize}`;
  });
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, 'cannot be created', error);
  }
  const pending: { moments: Tensor; label?: number }[] = [];
  let shape: readonly number[] | undefined;
  let [count, shards] = [0, 0];
  let labels = false;
  const write = async (): Promise<void> => {
    const part = pending.splice(0, shardSize);
    const tensors = new Map(part.map(({ moments }, i) => [String(i), moments]));
    if (labels)
      tensors.set('labels', tensor(BigInt64Array.from(part, ({ label }) => BigInt(label!))));
    // It would vouch for old files and new ones alike.
    if (shards === 0) await rm(join(folder, indexFile), { force: true });
    await writeSafetensors(join(folder, shardName(shards++)), tensors);
    for (const each of tensors.values()) each.dispose();
  };
  try {
    for await (const { image, label } of data.epoch({ signal })) {
      signal?.throwIfAborted();
      // Of pixels the latents may be the very images, which are disposed.
      const moments = tidy(() => noGrad(() => cast(momentsOf(stage, image), dtype).alias()));
      image.dispose();
      const [N, ...own] = moments.shape;
      shape ??= own;
      check(own.join() === shape.join(), () => {
        return `cacheLatents: all pictures must have one size; their latents are [${shape!.join(', ')}] and [${own.join(', ')}]`;
      });
      labels = label !== undefined;
      for (let i = 0; i < N; ++i)
        pending.push({
          moments: tidy(() => noGrad(() => permute(moments.select(0, i), [2, 0, 1]))),
          label: label?.[i],
        });
      moments.dispose();
      count += N;
      // Work is enqueued faster than it is done; its images would pile up.
      await image.device.synchronize();
      while (pending.length >= shardSize) await write();
      onProgress?.(count);
    }
    while (pending.length > 0) await write();
  } finally {
    for (const { moments } of pending) moments.dispose();
  }
  check(shape, () => 'cacheLatents: the data set is empty');
  const posterior = stage instanceof AutoencoderKL;
  const index: Index = {
    version,
    posterior,
    count,
    shape: shape as Index['shape'],
    shardSize,
    labels,
    ...(origin !== undefined && { origin }),
  };
  await writeFileAtomic(join(folder, indexFile), JSON.stringify(index, null, 2) + '\n');
}

/** What complete latents are of; null where they do not say, undefined where there are none. */
export async function originOfLatents(folder: string): Promise<string | null | undefined> {
  const complete = await stat(join(folder, indexFile)).catch(() => null);
  return complete ? ((await readIndex(folder)).origin ?? null) : undefined;
}

/** Batches of cached latents, read as they are needed. Batch k of a seed is the same on every machine. */
export class LatentCache implements DataSource<CachedBatch> {
  readonly batchesPerEpoch: number;
  readonly #options: Required<LatentCacheOptions>;
  readonly #shards = new Map<number, { file: SafetensorsFile; labels: BigInt64Array | null }>();

  private constructor(
    private readonly folder: string,
    private readonly index: Index,
    options: LatentCacheOptions,
  ) {
    const { batchSize, dropLast, seed } = (this.#options = {
      seed: 23,
      shuffle: true,
      dropLast: true,
      ...options,
    });
    const { count } = index;
    check(Number.isInteger(batchSize) && batchSize >= 1 && Number.isSafeInteger(seed), () => {
      return `LatentCache: batchSize must be an integer of at least 1 and seed an integer, got ${batchSize} and ${seed}`;
    });
    check(!dropLast || batchSize <= count, () => {
      return `LatentCache: a batch of ${batchSize} is larger than the ${count} pictures; set dropLast: false`;
    });
    this.batchesPerEpoch = dropLast ? Math.floor(count / batchSize) : Math.ceil(count / batchSize);
  }

  /** Opens a folder that {@link cacheLatents} wrote. @throws FileError when it is incomplete or damaged */
  static async open(folder: string, options: LatentCacheOptions): Promise<LatentCache> {
    return new LatentCache(folder, await readIndex(folder), options);
  }

  /** Number of pictures. */
  get length(): number {
    return this.index.count;
  }

  /** What a diffusion model takes of a batch: the `read` of `latentDiffusionTask`. */
  encoded({ moments }: CachedBatch): NonNullable<DiffusionBatch['encoded']> {
    return this.index.posterior ? new DiagonalGaussian(moments) : moments;
  }

  async *batches(
    options: { from?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<CachedBatch, void, undefined> {
    const { batchSize, seed, shuffle } = this.#options;
    let order: Uint32Array | undefined;
    let ordered = -1;
    for (let number = options.from ?? 0; ; ++number) {
      options.signal?.throwIfAborted();
      const epoch = Math.floor(number / this.batchesPerEpoch);
      if (shuffle && epoch !== ordered) {
        order = permutation(this.index.count, seed, epoch);
        ordered = epoch;
      }
      const from = (number % this.batchesPerEpoch) * batchSize;
      yield await this.#batch(from, (position) => order?.[position] ?? position);
    }
  }

  async *epoch(
    options: { signal?: AbortSignal } = {},
  ): AsyncGenerator<CachedBatch, void, undefined> {
    for (let from = 0; from < this.index.count; from += this.#options.batchSize) {
      options.signal?.throwIfAborted();
      yield await this.#batch(from, (position) => position);
    }
  }

  async #batch(from: number, pictureAt: (position: number) => number): Promise<CachedBatch> {
    const { count, labels } = this.index;
    const size = Math.min(this.#options.batchSize, count - from);
    const index = Array.from({ length: size }, (_, i) => pictureAt(from + i));
    const each = await Promise.all(index.map((picture) => this.#picture(picture)));
    const moments = tidy(() =>
      noGrad(() => cast(permute(stack(each.map((one) => one.moments)), [0, 2, 3, 1]), 'float32')),
    );
    for (const one of each) one.moments.dispose();
    return { moments, index, ...(labels && { label: each.map((one) => one.label!) }) };
  }

  async #picture(picture: number): Promise<{ moments: Tensor; label?: number }> {
    const { shardSize, shape, labels: labelled } = this.index;
    const { file, labels } = await this.#shard(Math.floor(picture / shardSize));
    const key = String(picture % shardSize);
    const [h, w, channels] = shape;
    const found = file.has(key) ? file.info(key).shape : [];
    if (found.join() !== [channels, h, w].join() || (labelled && !labels))
      throw new FileError(
        `holds no latents [${[channels, h, w].join(', ')}] of picture ${picture}; encode the data again.`,
        file.origin,
      );
    const moments = await file.get(key);
    return { moments, label: labels ? Number(labels[picture % shardSize]) : undefined };
  }

  async #shard(shard: number): Promise<{ file: SafetensorsFile; labels: BigInt64Array | null }> {
    let opened = this.#shards.get(shard);
    if (!opened) {
      const file = await readSafetensors(join(this.folder, shardName(shard)));
      const labels = file.has('labels')
        ? ((await tidy(async () => (await file.get('labels')).data())) as BigInt64Array)
        : null;
      opened = { file, labels };
      this.#shards.set(shard, opened);
    }
    return opened;
  }
}

function momentsOf(stage: FirstStage, image: Tensor): Tensor {
  return stage instanceof AutoencoderKL
    ? stage.encode(image).moments
    : stage.encodeToLatents(image);
}

async function readIndex(folder: string): Promise<Index> {
  const path = join(folder, indexFile);
  let index: Partial<Index> | null;
  try {
    const { size } = await stat(path);
    if (size > largestIndex) throw new FileError(`${size} bytes are too many for an index.`, path);
    index = JSON.parse(await readFile(path, 'utf8')) as Partial<Index> | null;
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new FileError(`not a valid index: ${error.message}`, path);
    throw fileError(path, 'cannot be read', error);
  }
  const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
  const { posterior, count, shape, shardSize, labels, origin = '' } = index ?? {};
  const fits =
    index?.version === version &&
    [count, shardSize].every(whole) &&
    (count as number) < 2 ** 32 &&
    Array.isArray(shape) &&
    shape.length === 3 &&
    shape.every(whole) &&
    [posterior, labels].every((value) => typeof value === 'boolean') &&
    typeof origin === 'string';
  if (!fits) throw new FileError('describes no cached latents; encode the data again.', path);
  return index as Index;
}
