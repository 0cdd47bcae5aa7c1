// Pictures as batches, made ahead by several threads in an order that only a seed decides.
import { createHash } from 'node:crypto';
import { check, DisposedError, FileError } from '../errors.js';
import { tensor } from '../creation.js';
import { device as deviceNamed, defaultDevice, type Device } from '../device.js';
import type { Tensor } from '../tensor.js';
import type { Condition, ConditionSource } from './condition.js';
import { DamagedPictures, replacement, type DamagedPicture } from './damaged.js';
import type { Dataset } from './dataset.js';
import { permutation, streams, uniforms } from './philox.js';
import type { DataSource } from './source.js';
import { Preparers } from './threads.js';
import { checkTransform, type TransformOptions } from './transform.js';

/** One picture of a batch, before it is part of a tensor. */
interface ImageSample {
  index: number;
  path: string;
  label?: number;
  /** [size, size, channels] */
  image: Uint8Array;
  /** What the source of conditions made of it. */
  condition: unknown;
}

/** What {@link DataLoader} makes. */
export interface ImageBatch {
  /** float32 [N, H, W, C] in [-1, 1]. Whoever takes the batch disposes it. */
  image: Tensor;
  /** Which pictures of the data set these are. */
  index: number[];
  path: string[];
  /** Only where the data set has labels. */
  label?: number[];
  /** What the pictures are conditioned on. Only where the loader was given a source of conditions. */
  condition?: Condition;
}

export interface DataLoaderOptions {
  batchSize: number;
  transform: TransformOptions;
  /** Decides the order and all that is random about pictures. Default 23, the original's. */
  seed?: number;
  /** Whether `batches()` takes each epoch in an order of its own. Default true. */
  shuffle?: boolean;
  /** Whether `batches()` leaves out the last, short batch of an epoch. Default true. */
  dropLast?: boolean;
  /**
   * Worker threads. With 0 the calling thread does all but reading and decoding. Default 2. Decoding runs in
   * the process's pool in any case: with more than four cores to spare set the environment variable
   * `UV_THREADPOOL_SIZE` to their number.
   */
  workers?: number;
  /** Batches that are made ahead of the one in use. Default 2. They are float32 in memory. */
  prefetch?: number;
  /**
   * What happens when a picture cannot be read: `'throw'` ends the batches with its FileError, `'skip'` puts
   * another one in its place, always the same for (seed, epoch, position). Default `'throw'`.
   */
  onDamaged?: 'skip' | 'throw';
  /** @internal What is said after the error of a damaged picture: how to go on. */
  remedy?: string;
  /** The share of the data set that may be damaged before the run is stopped. Default a tenth. */
  maxDamaged?: number;
  /** Told once of each damaged picture. Default: console.warn. */
  warn?: (message: string) => void;
  /** What the pictures are conditioned on. Default: nothing but the data set's labels. */
  condition?: ConditionSource;
  /** Where batches go. Default: `defaultDevice()`. */
  device?: Device | string;
}

/**
 * Batches of pictures from a data set. Batch k of a seed is the same bits on every machine, with any number of
 * workers, in a new loader or one that has come this far.
 *
 * ```ts
 * const dataset = await ImageFolder.open('ffhq');
 * const loader = new DataLoader(dataset, { batchSize: 12, transform: { size: 256 } });
 * for await (const { image } of loader.batches()) {
 *   // image is [12, 256, 256, 3]
 *   image.dispose();
 * }
 * ```
 */
export class DataLoader implements DataSource<ImageBatch> {
  readonly batchesPerEpoch: number;
  readonly #options: Required<Omit<DataLoaderOptions, Consumed>> &
    Pick<DataLoaderOptions, 'device' | 'condition'>;
  readonly #damaged: DamagedPictures;
  readonly #table: Float32Array;
  readonly #orders = new Map<number, Uint32Array>();
  #preparers?: Preparers;
  readonly #running = new Set<AbortController>();
  #disposed = false;
  #waits = 0;
  #waitMs = 0;

  /** @throws ArgumentError for options that are impossible, or a batch larger than the data set */
  constructor(
    readonly dataset: Dataset,
    options: DataLoaderOptions,
  ) {
    const { batchSize, transform, seed = 23, shuffle = true, dropLast = true } = options;
    const { workers = 2, prefetch = 2, condition, device, warn = console.warn } = options;
    const { onDamaged = 'throw', maxDamaged = 0.1 } = options;
    const { remedy = "Remove or replace it, or give the loader onDamaged: 'skip'." } = options;
    const making = { workers, prefetch, condition, device, onDamaged, remedy };
    this.#options = { batchSize, transform, seed, shuffle, ...making };
    const whole = (name: string, value: number, from: number, to: number): void =>
      check(Number.isInteger(value) && value >= from && value <= to, () => {
        return `DataLoader: ${name} must be an integer from ${from} to ${to}, got ${value}.`;
      });
    whole('batchSize', batchSize, 1, 2 ** 20);
    whole('workers', workers, 0, 256);
    whole('prefetch', prefetch, 0, 2 ** 10);
    whole('the length of the data set', dataset.length, 1, 2 ** 32 - 1);
    check(Number.isSafeInteger(seed), () => `DataLoader: seed must be an integer, got ${seed}.`);
    check(maxDamaged >= 0 && maxDamaged <= 1, () => {
      return `DataLoader: maxDamaged is a share of the data set, got ${maxDamaged}.`;
    });
    checkTransform(transform);
    const batches = dataset.length / batchSize;
    this.batchesPerEpoch = dropLast ? Math.floor(batches) : Math.ceil(batches);
    check(this.batchesPerEpoch > 0, () => {
      return (
        `DataLoader: ${dataset.length} pictures do not fill a batch of ${batchSize}. ` +
        'Lower batchSize, or set dropLast to false.'
      );
    });
    // One picture at least must be left to stand in for the others, or the search for it would not end.
    const most = Math.min(Math.floor(maxDamaged * dataset.length), dataset.length - 1);
    this.#damaged = new DamagedPictures(most, warn);
    // A byte p is p / 127.5 - 1, computed in float64 and rounded once, as the original does.
    this.#table = Float32Array.from({ length: 256 }, (_, byte) => byte / 127.5 - 1);
  }

  /** What the pictures are conditioned on, beside their labels. */
  get condition(): ConditionSource | undefined {
    return this.#options.condition;
  }

  /** How often a batch was asked for before it was made, first batches aside. */
  get waits(): number {
    return this.#waits;
  }

  /** Milliseconds spent in {@link waits}. */
  get waitMs(): number {
    return this.#waitMs;
  }

  /** The pictures replaced so far. */
  get damaged(): readonly DamagedPicture[] {
    return this.#damaged.list;
  }

  /** @internal A checksum of what decides the pictures of {@link epoch}: which, how prepared, by what seed. */
  get checksum(): string {
    const { transform, seed } = this.#options;
    const hash = createHash('sha256').update(JSON.stringify({ transform, seed }));
    for (let i = 0; i < this.dataset.length; ++i) {
      const { path, label = null } = this.dataset.item(i);
      hash.update(JSON.stringify([path, label]));
    }
    return hash.digest('hex');
  }

  /**
   * Batches without end. When the signal aborts, pictures not yet begun are dropped, and the iteration throws
   * the signal's reason.
   *
   * @param options.from number of the first batch, counted from the training's begin. Default 0
   * @throws FileError for a damaged picture, when its batch's turn comes; EmulsionError (`ERR_DATA`) when too
   * many are damaged
   */
  async *batches(
    options: { from?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<ImageBatch, void, undefined> {
    const { from = 0, signal } = options;
    check(Number.isSafeInteger(from) && from >= 0, () => {
      return `DataLoader.batches: from must be a count of batches, got ${from}.`;
    });
    yield* this.#ahead(from, Infinity, signal, (number, stop) => {
      const epoch = Math.floor(number / this.batchesPerEpoch);
      const first = (number % this.batchesPerEpoch) * this.#options.batchSize;
      return this.#batch(
        epoch,
        first,
        this.#options.shuffle ? this.#order(epoch) : undefined,
        stop,
      );
    });
  }

  /**
   * Once through all pictures in the data set's order, none left out; the last batch may be short. Throws as
   * {@link batches} does.
   */
  async *epoch(
    options: { signal?: AbortSignal } = {},
  ): AsyncGenerator<ImageBatch, void, undefined> {
    const { batchSize } = this.#options;
    const count = Math.ceil(this.dataset.length / batchSize);
    yield* this.#ahead(0, count, options.signal, (number, stop) =>
      this.#batch(0, number * batchSize, undefined, stop),
    );
  }

  /** Ends the worker threads. Iterations that are under way throw a DisposedError. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const stop of this.#running) stop.abort(wasDisposed());
    await this.#preparers?.dispose();
  }

  // Threads start with the first picture.
  #start(): Preparers {
    if (this.#disposed) throw wasDisposed();
    const { workers, transform } = this.#options;
    return (this.#preparers ??= new Preparers(workers, transform));
  }

  // Keeps `prefetch` batches in the making while the consumer has one.
  async *#ahead(
    from: number,
    to: number,
    signal: AbortSignal | undefined,
    make: (number: number, stop: AbortSignal) => Promise<ReadyBatch>,
  ): AsyncGenerator<ImageBatch, void, undefined> {
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    this.#running.add(stop);
    const made: Ahead[] = [];
    try {
      for (let next = from, taken = from; taken < to; ++taken) {
        stop.signal.throwIfAborted();
        for (; next < to && next <= taken + this.#options.prefetch; ++next)
          made.push(track(make(next, stop.signal)));
        const { promise, settled } = made.shift()!;
        const asked = performance.now();
        const waits = !settled() && taken > from;
        const ready = await unlessAborted(promise, stop.signal);
        if (waits) {
          ++this.#waits;
          this.#waitMs += performance.now() - asked;
        }
        yield this.#finished(ready);
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#running.delete(stop);
      stop.abort();
    }
  }

  #finished({ values, shape, conditions, ...rest }: ReadyBatch): ImageBatch {
    const { device: chosen, condition } = this.#options;
    const device = chosen === undefined ? defaultDevice() : deviceNamed(chosen);
    const image = tensor(values, { shape, device });
    return { image, ...rest, ...(condition && { condition: condition.batch(conditions, device) }) };
  }

  async #batch(
    epoch: number,
    first: number,
    order: Uint32Array | undefined,
    stop: AbortSignal,
  ): Promise<ReadyBatch> {
    const { batchSize, transform } = this.#options;
    const count = Math.min(batchSize, this.dataset.length - first);
    const { size, channels = 3 } = transform;
    const shape = [count, size, size, channels];
    const samples = await Promise.all(
      Array.from({ length: count }, (_, i) => this.#sample(epoch, first + i, order, stop)),
    );
    const pixels = size * size * channels;
    const values = new Float32Array(count * pixels);
    samples.forEach(({ image }, n) => {
      const offset = n * pixels;
      for (let i = 0; i < pixels; ++i) values[offset + i] = this.#table[image[i]];
    });
    const labels = samples.map(({ label }) => label);
    return {
      values,
      shape,
      index: samples.map(({ index }) => index),
      path: samples.map(({ path }) => path),
      conditions: samples.map(({ condition }) => condition),
      ...(labels.includes(undefined) ? {} : { label: labels as number[] }),
    };
  }

  // The picture at a position of an epoch, or who stands in for it.
  async #sample(
    epoch: number,
    position: number,
    order: Uint32Array | undefined,
    stop: AbortSignal,
  ): Promise<ImageSample> {
    const { seed, onDamaged, remedy, condition, transform } = this.#options;
    let index = order ? order[position] : position;
    for (let attempt = 0; ; ++attempt) {
      if (!this.#damaged.has(index)) {
        const item = this.dataset.item(index);
        const { path, source, label } = item;
        try {
          const draws = uniforms(seed, streams.sample, epoch, index);
          const data = typeof source === 'function' ? await source() : source;
          const { pixels, region } = await this.#start().run({ path, source: data, draws }, stop);
          const { data: image } = pixels;
          const { size, channels = 3 } = transform;
          const picture = { index, item, image, size, channels, region, key: { seed, epoch } };
          return { index, path, label, image, condition: await condition?.sample(picture) };
        } catch (error) {
          if (!(error instanceof FileError)) throw error;
          if (onDamaged === 'throw') {
            error.message += ` ${remedy}`;
            throw error;
          }
          this.#damaged.note(index, path, error);
        }
      }
      this.#damaged.throwIfTooMany();
      index = replacement(this.dataset.length, seed, epoch, position, attempt);
    }
  }

  // Batches of two epochs at most are in the making at once, unless epochs are shorter than what is ahead.
  #order(epoch: number): Uint32Array {
    let order = this.#orders.get(epoch);
    if (!order) {
      order = permutation(this.dataset.length, this.#options.seed, epoch);
      this.#orders.set(epoch, order);
      const [oldest] = this.#orders.keys();
      if (this.#orders.size > 2) this.#orders.delete(oldest);
    }
    return order;
  }
}

/** Options that are no longer needed once the loader is made, and those without a default. */
type Consumed = 'dropLast' | 'maxDamaged' | 'warn' | 'device' | 'condition';

/** A batch that only lacks its tensors, which belong to the consumer's scope. */
type ReadyBatch = Omit<ImageBatch, 'image' | 'condition'> & {
  values: Float32Array;
  shape: number[];
  conditions: unknown[];
};

const wasDisposed = (): Error => new DisposedError('DataLoader: it was disposed.');

interface Ahead {
  promise: Promise<ReadyBatch>;
  settled: () => boolean;
}

function track(promise: Promise<ReadyBatch>): Ahead {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  // This also keeps a batch that fails before its turn from counting as unhandled.
  promise.then(settle, settle);
  return { promise, settled: () => settled };
}

// The promise's outcome, or the signal's reason as soon as it aborts.
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
