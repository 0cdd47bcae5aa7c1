/** A context whose keys and values are made once: in a sampling run the text stays, and only the latent changes. */
import { check } from '../../errors.js';
import type { Module } from '../../nn/index.js';
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

  /** @internal use `UNetModel.prepareContext` */
  constructor(layers: ReadonlyMap<Module, KeysAndValues>) {
    this.#layers = layers;
  }

  /** What `layer` reads. @throws ArgumentError when the context was prepared for another network */
  of(layer: Module): KeysAndValues {
    const found = this.#layers.get(layer);
    check(found, () => 'CrossAttention: the context was prepared for another network.');
    return found;
  }

  /** Frees keys and values. */
  dispose(): void {
    for (const { keys, values } of this.#layers.values()) {
      keys.dispose();
      values.dispose();
    }
  }
}
