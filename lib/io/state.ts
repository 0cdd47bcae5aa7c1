// What readers, writers and modules agree on: named tensors that are described at once and read late.
import type { DType } from '../dtype.js';
import type { Tensor } from '../tensor.js';

/** A tensor that can be described before it exists; `read` makes it, and the caller disposes it. */
export interface TensorSource {
  readonly shape: readonly number[];
  readonly dtype: DType;
  read(): Tensor | Promise<Tensor>;
}

/** Named tensors in PyTorch's layout, from a file or from memory. */
export interface StateReader {
  /** Where the tensors come from, for error messages. */
  readonly origin: string;
  readonly keys: readonly string[];
  has(key: string): boolean;
  /** Shape and dtype without reading any data; throws for unknown keys and unsupported dtypes. */
  info(key: string): { readonly shape: readonly number[]; readonly dtype: DType };
  /** Reads one tensor; the caller owns it. */
  get(key: string): Promise<Tensor>;
}

/** The part of a reader whose keys begin with `prefix`, under the names that follow it. */
export function withPrefix(reader: StateReader, prefix: string): StateReader {
  const matching = reader.keys.filter((key) => key.startsWith(prefix));
  return {
    origin: reader.origin,
    keys: matching.map((key) => key.slice(prefix.length)),
    has: (key) => reader.has(prefix + key),
    info: (key) => reader.info(prefix + key),
    get: (key) => reader.get(prefix + key),
  };
}

/** Two readers as one: what `above` lacks comes from `below`. */
export function overlay(above: StateReader, below: StateReader): StateReader {
  const source = (key: string) => (above.has(key) ? above : below);
  return {
    origin: above.origin,
    keys: [...new Set([...above.keys, ...below.keys])],
    has: (key) => above.has(key) || below.has(key),
    info: (key) => source(key).info(key),
    get: (key) => source(key).get(key),
  };
}
