// Random numbers in a row that follow from a key alone: as many as a mask turns out to need.
import { philox, streams } from '../philox.js';

/** Whose mask it is. The same key gives the same mask, whatever was drawn before. */
export interface MaskKey {
  readonly seed: number;
  /** Keeps purposes apart that share a seed. Default: that of the data layer's masks. */
  readonly stream?: number;
  /** Default 0. */
  readonly step?: number;
  /** Default 0. */
  readonly sample?: number;
}

/** The numbers of one key, one after the other. */
export class Draws {
  readonly #key: Required<MaskKey>;
  #words: readonly number[] = [];
  #drawn = 0;

  constructor({ seed, stream = streams.masks, step = 0, sample = 0 }: MaskKey) {
    this.#key = { seed, stream, step, sample };
  }

  /** Uniform in [0, 1). */
  share(): number {
    if (this.#drawn % 4 === 0) {
      const { seed, stream, step, sample } = this.#key;
      this.#words = philox(seed, stream, step, sample, this.#drawn / 4);
    }
    return (this.#words[this.#drawn++ % 4] >>> 8) / 2 ** 24;
  }

  /** A whole number from `least` to `most`, both included. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.share() * (most - least + 1));
  }
}
