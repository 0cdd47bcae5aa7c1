import type { Device } from './device.js';
import type { DType } from './dtype.js';
import { checkOptions, ownShape } from './checks.js';
import { check } from './errors.js';
import { native, type Id } from './native.js';
import { refuseInRecording } from './recording.js';
import { registerReplayable } from './replay.js';
import { empty, upload, type Tensor } from './tensor.js';

type Rows = [
  seed: number,
  stream: number,
  step: number,
  firstSample: number,
  seeds: Id | null,
  samples: Id | null,
];

const kernels = native<{
  random_normal(...args: [...Rows, mean: number, std: number, y: Id]): void;
  random_uniform(...args: [...Rows, low: number, high: number, y: Id]): void;
  random_integers(...args: [...Rows, low: number, high: number, y: Id]): void;
  random_bernoulli(...args: [...Rows, p: number, y: Id]): void;
  random_permutation(seed: number, stream: number, step: number, y: Id): void;
}>('random_normal', 'random_uniform', 'random_integers', 'random_bernoulli', 'random_permutation');

/** Names a sequence of numbers: everything that is drawn is a function of it, the sample and the element. */
export interface RandomKey {
  seed: number;
  stream: number;
  step: number;
}

export interface RandomOptions {
  /** Default `'float32'`; integers default to `'int64'`. */
  dtype?: DType;
  /** Default: `defaultDevice()`. */
  device?: Device | string;
  /**
   * Number of each sample (entry of the first axis). Default 0, 1, 2, ... A sample's numbers depend on its number
   * and not on the batch around it.
   */
  sampleIds?: readonly number[];
}

/** Everything a Generator needs to go on where it was. */
export type GeneratorState = RandomKey;

const limit = 2 ** 32;

function checkCounter(name: string, value: number, below = limit): number {
  check(
    Number.isInteger(value) && value >= 0 && value < below,
    () => `random: ${name} must be an integer in [0, ${below}), got ${value}`,
  );
  return value;
}

const checkSeed = (seed: number): number => {
  check(Number.isSafeInteger(seed), () => `random: seed must be a safe integer, got ${seed}`);
  return seed;
};

function refuseDraws(): void {
  refuseInRecording(
    'random numbers are drawn while work is recorded, and a replay would repeat them',
    'Pass them as inputs',
  );
}

// One int64 for each sample, on y's device, or null.
function perSample(name: string, values: readonly number[] | undefined, y: Tensor): Tensor | null {
  if (!values) return null;
  const rows = y.rank === 0 ? 1 : y.shape[0];
  check(
    values.length === rows,
    () => `random: expected ${rows} ${name}, one per sample, got ${values.length}`,
  );
  const list = empty([rows], { dtype: 'int64', device: y.device });
  upload(
    list,
    BigInt64Array.from(values, (value) =>
      BigInt(name === 'seeds' ? checkSeed(value) : checkCounter(name, value)),
    ),
  );
  return list;
}

function draw(
  key: RandomKey & { seeds?: readonly number[] },
  shape: readonly number[],
  options: RandomOptions,
  fill: (rows: Rows, y: Tensor) => void,
): Tensor {
  checkOptions('random', options);
  const y = empty(ownShape('random', shape), options);
  const seeds = perSample('seeds', key.seeds, y);
  // With a seed of its own every sample is the first of its sequence.
  const ids = options.sampleIds ?? (seeds ? Array<number>(seeds.numel).fill(0) : undefined);
  const samples = perSample('sampleIds', ids, y);
  fill([key.seed, key.stream, key.step, 0, seeds?.id ?? null, samples?.id ?? null], y);
  seeds?.dispose();
  samples?.dispose();
  return y;
}

// The rows of a whole tensor, numbered as they come.
const wholeTensor = ({ seed, stream, step }: RandomKey): Rows => [
  seed,
  stream,
  step,
  0,
  null,
  null,
];

// Generators that a recomputation must rewind; weak, so that a forgotten generator can go.
const living = new Set<WeakRef<Generator>>();
const forget = new FinalizationRegistry<WeakRef<Generator>>((reference) =>
  living.delete(reference),
);

registerReplayable({
  snapshot() {
    const states = [...living].map((reference) => {
      const generator = reference.deref();
      return { generator, state: generator?.state() };
    });
    return () => {
      for (const { generator, state } of states) if (state) generator?.setState(state);
    };
  },
});

/**
 * A sequence of random tensors. Numbers come from Philox 4x32-10, keyed by (seed, stream, step, sample, element);
 * each call takes the next step. The same bits on every device and batch size.
 */
export class Generator {
  private seed: number;
  private stream: number;
  private step = 0;

  /** @param options.stream separates generators of one seed. Default 0. */
  constructor(seed: number, options: { stream?: number } = {}) {
    this.seed = checkSeed(seed);
    this.stream = checkCounter('stream', options.stream ?? 0);
    const reference = new WeakRef(this);
    living.add(reference);
    forget.register(this, reference);
  }

  /** @internal The key of the next draw; advances the generator. */
  next(): RandomKey {
    refuseDraws();
    checkCounter('step', this.step);
    return { seed: this.seed, stream: this.stream, step: this.step++ };
  }

  /** Independent normals of the given mean and deviation. */
  normal(
    shape: readonly number[],
    options: RandomOptions & { mean?: number; std?: number } = {},
  ): Tensor {
    const { mean = 0, std = 1 } = options;
    return draw(this.next(), shape, options, (rows, y) =>
      kernels.random_normal(...rows, mean, std, y.id),
    );
  }

  /**
   * Uniform in [low, high), by default [0, 1): in 2^24 steps, of float16 2^11, of bfloat16 2^8.
   *
   * @throws ArgumentError unless both are finite and low <= high
   */
  uniform(
    shape: readonly number[],
    options: RandomOptions & { low?: number; high?: number } = {},
  ): Tensor {
    const { low = 0, high = 1 } = options;
    checkRange(low, high);
    return draw(this.next(), shape, options, (rows, y) =>
      kernels.random_uniform(...rows, low, high, y.id),
    );
  }

  /** @internal Overwrites `y` with what {@link normal} gives for its shape. */
  normal_(y: Tensor, mean: number, std: number): void {
    kernels.random_normal(...wholeTensor(this.next()), mean, std, y.id);
  }

  /** @internal Overwrites `y` with what {@link uniform} gives for its shape. */
  uniform_(y: Tensor, low: number, high: number): void {
    checkRange(low, high);
    kernels.random_uniform(...wholeTensor(this.next()), low, high, y.id);
  }

  /** Integers in [low, high), int64 by default: `integers(0, 1000, [batch])` are timesteps. */
  integers(
    low: number,
    high: number,
    shape: readonly number[],
    options: RandomOptions = {},
  ): Tensor {
    check(
      Number.isSafeInteger(low) && Number.isSafeInteger(high) && low < high,
      () => `integers: expected integers low < high, got ${low} and ${high}`,
    );
    const typed = { ...options, dtype: options.dtype ?? ('int64' as const) };
    return draw(this.next(), shape, typed, (rows, y) =>
      kernels.random_integers(...rows, low, high, y.id),
    );
  }

  /** 1 with probability p, else 0. */
  bernoulli(p: number, shape: readonly number[], options: RandomOptions = {}): Tensor {
    check(p >= 0 && p <= 1, () => `bernoulli: p must lie in [0, 1], got ${p}`);
    return draw(this.next(), shape, options, (rows, y) =>
      kernels.random_bernoulli(...rows, p, y.id),
    );
  }

  /** 0, 1, ..., n - 1 in random order, int64. */
  permutation(n: number, options: { device?: Device | string } = {}): Tensor {
    const { seed, stream, step } = this.next();
    const y = empty([n], { dtype: 'int64', device: options.device });
    kernels.random_permutation(seed, stream, step, y.id);
    return y;
  }

  /** For a checkpoint: plain numbers. */
  state(): GeneratorState {
    return { seed: this.seed, stream: this.stream, step: this.step };
  }

  /** Goes on from a saved state. */
  setState(state: GeneratorState): void {
    this.seed = checkSeed(state.seed);
    this.stream = checkCounter('stream', state.stream);
    this.step = checkCounter('step', state.step, limit + 1);
  }
}

function checkRange(low: number, high: number): void {
  check(
    Number.isFinite(low) && Number.isFinite(high) && low <= high,
    () => `uniform: expected finite low <= high, got ${low} and ${high}`,
  );
}

/** What `randn`, `rand`, `randint` and `dropout` draw from when no generator is given. */
export const defaultGenerator = new Generator(0);

/** Restarts {@link defaultGenerator} from a seed. */
export function manualSeed(seed: number): void {
  defaultGenerator.setState({ seed, stream: 0, step: 0 });
}

export interface SourceOptions extends RandomOptions {
  /** Default: the global generator, see {@link manualSeed}. */
  generator?: Generator;
}

/** Standard normals. */
export const randn = (shape: readonly number[], options: SourceOptions = {}): Tensor =>
  (options.generator ?? defaultGenerator).normal(shape, options);

/** Uniform in [0, 1). */
export const rand = (shape: readonly number[], options: SourceOptions = {}): Tensor =>
  (options.generator ?? defaultGenerator).uniform(shape, options);

/** Integers in [low, high), int64 by default. */
export const randint = (
  low: number,
  high: number,
  shape: readonly number[],
  options: SourceOptions = {},
): Tensor => (options.generator ?? defaultGenerator).integers(low, high, shape, options);

export interface NoiseOptions extends RandomOptions {
  /** One seed, from which samples differ by their number, or a seed of its own for every sample. */
  seed: number | readonly number[];
  /** Default 0. */
  stream?: number;
  /** Position in the sequence, such as the sampler's step. Default 0. */
  step?: number;
}

/**
 * Standard normals as a pure function, without a generator: `noise([3, 64, 64, 4], { seed: [7, 8, 9] })` gives
 * each sample the picture that its seed gives alone.
 */
export function noise(shape: readonly number[], options: NoiseOptions): Tensor {
  return draw(keyOf(options), shape, options, (rows, y) =>
    kernels.random_normal(...rows, 0, 1, y.id),
  );
}

/** As {@link noise}, uniform in [0, 1). */
export function uniformNoise(shape: readonly number[], options: NoiseOptions): Tensor {
  return draw(keyOf(options), shape, options, (rows, y) =>
    kernels.random_uniform(...rows, 0, 1, y.id),
  );
}

function keyOf({
  seed,
  stream = 0,
  step = 0,
}: NoiseOptions): RandomKey & { seeds?: readonly number[] } {
  refuseDraws();
  const seeds = typeof seed === 'number' ? undefined : seed;
  return {
    seed: seeds ? 0 : checkSeed(seed as number),
    stream: checkCounter('stream', stream),
    step: checkCounter('step', step),
    seeds,
  };
}
