import { tensor } from './creation.js';
import type { Device } from './device.js';
import { check } from './errors.js';
import type { Tensor } from './tensor.js';

const stateWords = 624;
const shift = 397;

/** State of a {@link TorchGenerator}, as plain data for a checkpoint. */
export interface TorchGeneratorState {
  words: number[];
  position: number;
  /** The second normal of a pair that was drawn in double precision, waiting for the next call. */
  spare: number | null;
}

interface Options {
  /** float32 (default) or float64. */
  dtype?: 'float32' | 'float64';
  device?: Device | string;
}

/**
 * The random numbers of PyTorch's CPU generator: `new TorchGenerator(42).randn(shape)` are those of
 * `torch.manual_seed(42); torch.randn(shape)`, bit for bit but for the last place of logarithm and cosine, for
 * pictures that were made in Python. A Mersenne twister (Matsumoto and Nishimura, 1998); all else should use
 * `Generator`.
 */
export class TorchGenerator {
  private words = new Uint32Array(stateWords);
  private position = stateWords;
  private spare: number | null = null;

  /** @param seed an integer; the twister uses its low 32 bits. */
  constructor(seed: number) {
    check(
      Number.isSafeInteger(seed),
      () => `TorchGenerator: seed must be a safe integer, got ${seed}`,
    );
    const { words } = this;
    words[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < stateWords; ++i)
      words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
  }

  /** Uniform in [0, 1), as `torch.rand`. */
  rand(shape: readonly number[], options: Options = {}): Tensor {
    return tensor(
      this.fill(shape, options, (wide) => (wide ? this.uniform53() : this.uniform24())),
      { shape, ...options },
    );
  }

  /** Standard normals, as `torch.randn`. */
  randn(shape: readonly number[], options: Options = {}): Tensor {
    const wide = options.dtype === 'float64';
    const count = shape.reduce((a, b) => a * b, 1);
    const values =
      count < 16
        ? this.fill(shape, options, () => this.normal())
        : this.normalsBySixteen(count, wide);
    return tensor(values, { shape, ...options });
  }

  /** Integers in [low, high), int64, as `torch.randint`. */
  randint(
    low: number,
    high: number,
    shape: readonly number[],
    options: { device?: Device | string } = {},
  ): Tensor {
    check(
      Number.isSafeInteger(low) && Number.isSafeInteger(high) && low < high,
      () => `randint: expected safe integers low < high, got ${low} and ${high}`,
    );
    const count = shape.reduce((a, b) => a * b, 1);
    const [start, range] = [BigInt(low), BigInt(high) - BigInt(low)];
    // Where 32 bits would prefer some integers by more than 1 in 16, PyTorch draws 64.
    const bits = range < 2n ** 28n ? () => BigInt(this.word()) : () => this.word64();
    const values = BigInt64Array.from({ length: count }, () => start + (bits() % range));
    return tensor(values, { shape, device: options.device });
  }

  state(): TorchGeneratorState {
    return { words: [...this.words], position: this.position, spare: this.spare };
  }

  setState(state: TorchGeneratorState): void {
    check(
      state.words.length === stateWords && state.position >= 0 && state.position <= stateWords,
      () => `TorchGenerator: a state has ${stateWords} words and a position among them`,
    );
    this.words.set(state.words);
    this.position = state.position;
    this.spare = state.spare;
  }

  /** The next 32 raw bits. */
  word(): number {
    if (this.position === stateWords) this.refill();
    let y = this.words[this.position++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  // The word drawn first is the high one.
  private word64(): bigint {
    const high = this.word();
    return (BigInt(high) << 32n) | BigInt(this.word());
  }

  private refill(): void {
    const { words } = this;
    for (let i = 0; i < stateWords; ++i) {
      const joined = (words[i] & 0x80000000) | (words[(i + 1) % stateWords] & 0x7fffffff);
      words[i] = words[(i + shift) % stateWords] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
    }
    this.position = 0;
  }

  private uniform24(): number {
    return (this.word() % 2 ** 24) / 2 ** 24;
  }

  // 53 of 64 bits, drawn as word64's.
  private uniform53(): number {
    const high = this.word();
    const low = this.word();
    return ((high % 2 ** 21) * 2 ** 32 + low) / 2 ** 53;
  }

  // Below sixteen elements: pairs in double precision, the second kept for the next call.
  private normal(): number {
    if (this.spare !== null) {
      const value = this.spare;
      this.spare = null;
      return value;
    }
    const angle = 2 * Math.PI * this.uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.uniform53()));
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  // From sixteen on: uniforms first, then every sixteen become normals, radii from the first half and angles from
  // the second. A rest is made by drawing the last sixteen again.
  private normalsBySixteen(count: number, wide: boolean): Float32Array | Float64Array {
    const values = wide ? new Float64Array(count) : new Float32Array(count);
    const round = wide ? (x: number) => x : Math.fround;
    const uniform = wide ? () => this.uniform53() : () => this.uniform24();
    const transform = (start: number): void => {
      for (let j = start; j < start + 8; ++j) {
        const radius = round(Math.sqrt(round(-2 * round(Math.log(round(1 - values[j]))))));
        const angle = round(round(2 * Math.PI) * values[j + 8]);
        values[j] = radius * round(Math.cos(angle));
        values[j + 8] = radius * round(Math.sin(angle));
      }
    };
    for (let i = 0; i < count; ++i) values[i] = uniform();
    for (let i = 0; i + 16 <= count; i += 16) transform(i);
    if (count % 16 !== 0) {
      for (let i = count - 16; i < count; ++i) values[i] = uniform();
      transform(count - 16);
    }
    return values;
  }

  private fill(
    shape: readonly number[],
    { dtype }: Options,
    next: (wide: boolean) => number,
  ): Float32Array | Float64Array {
    const count = shape.reduce((a, b) => a * b, 1);
    const wide = dtype === 'float64';
    const values = wide ? new Float64Array(count) : new Float32Array(count);
    for (let i = 0; i < count; ++i) values[i] = next(wide);
    return values;
  }
}
