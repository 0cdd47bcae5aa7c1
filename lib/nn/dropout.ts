import { check } from '../errors.js';
import { dropout } from '../ops/index.js';
import type { Generator } from '../random.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Zeroes elements with probability p while training and scales the others by 1/(1 - p). */
export class Dropout extends Module<[Tensor], Tensor> {
  readonly #generator: Generator | undefined;

  constructor(
    readonly p = 0.5,
    options: { generator?: Generator } = {},
  ) {
    super();
    check(p >= 0 && p < 1, () => `Dropout: p must lie in [0, 1), got ${p}`);
    this.#generator = options.generator;
  }

  forward(x: Tensor): Tensor {
    return dropout(x, this.p, { training: this.training, generator: this.#generator });
  }

  override facts(): string {
    return `p ${this.p}`;
  }
}
