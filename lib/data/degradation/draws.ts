// What is random about a degradation: a row of numbers that depends on its key alone.
import { philox, streams } from '../philox.js';

/** Names the row: a degradation of a picture is a function of its pixels and of this. */
export interface DrawKey {
  readonly seed: number;
  /** How often the picture has been looked at before. */
  readonly epoch: number;
  /** The picture's number. */
  readonly index: number;
}

/** Takes numbers from the row, one after the other. */
export class Draws {
  #block = 0;
  #words: number[] = [];

  constructor(private readonly key: DrawKey) {}

  /** 32 bits. */
  word(): number {
    const { seed, epoch, index } = this.key;
    if (this.#words.length === 0)
      this.#words = philox(seed, streams.degradation, epoch, index, this.#block++);
    return this.#words.shift()!;
  }

  /** In [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.word() / 2 ** 32);
  }

  /** A whole number from low to high, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform(0, high - low + 1));
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  one<T>(choices: readonly T[]): T {
    return choices[this.integer(0, choices.length - 1)];
  }

  /** 0, 1, ..., count - 1 in any order (Fisher and Yates). */
  order(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; --i) {
      const j = this.integer(0, i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
