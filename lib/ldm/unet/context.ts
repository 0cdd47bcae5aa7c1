/** A context whose keys and values are made once: in a sampling run the text stays, and only the latent changes. */
import { check } from '../../errors.js';
import type { Module } from '../../nn/index.js';
import { concat } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';

/** A context as one attention layer reads it; both [N, S, K, D]. */
export interface KeysAndValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Tokens [N, S, contextDim], or what `UNetModel.prepareContext` made of them. */
export type Context = Tensor | PreparedContext;

/**
 * Keys and values of every cross-attention of a network for one context. Belongs to the weights it was made
 * with, and carries no gradients to them.
 */
export class PreparedContext {
  readonly #layers: ReadonlyMap<Module, KeysAndValues>;
  readonly #times: number;

  /** @internal use `UNetModel.prepareContext` */
  constructor(layers: ReadonlyMap<Module, KeysAndValues>, times = 1) {
    this.#layers = layers;
    this.#times = times;
  }

  /** What `layer` reads. @throws ArgumentError when the context was prepared for another network */
  of(layer: Module): KeysAndValues {
    const found = this.#layers.get(layer);
    check(found, () => 'CrossAttention: the context was prepared for another network.');
    if (this.#times === 1) return found;
    const repeated = (x: Tensor) => concat(Array<Tensor>(this.#times).fill(x), 0);
    return { keys: repeated(found.keys), values: repeated(found.values) };
  }

  /** The same for a batch that comes so many times. One layer's copies are made at a time, when it reads them. */
  repeated(times: number): PreparedContext {
    return new PreparedContext(this.#layers, this.#times * times);
  }

  /** Frees keys and values. */
  dispose(): void {
    for (const { keys, values } of this.#layers.values()) {
      keys.dispose();
      values.dispose();
    }
  }
}
