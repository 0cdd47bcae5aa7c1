// The state among a PyTorch checkpoint's data: what a network loads.
import { check, FileError } from '../../errors.js';
import type { DType } from '../../dtype.js';
import type { Tensor } from '../../tensor.js';
import type { StateReader } from '../state.js';
import { collect, collectTensors } from './collect.js';
import { TensorRef } from './tensor_ref.js';
import { Opaque, type CheckpointValue } from './values.js';

/** Named tensors of a PyTorch file. */
export class TorchState implements StateReader {
  readonly keys: readonly string[];
  readonly #tensors: ReadonlyMap<string, TensorRef | Opaque>;

  constructor(
    readonly origin: string,
    tensors: ReadonlyMap<string, TensorRef | Opaque>,
  ) {
    this.keys = [...tensors.keys()];
    this.#tensors = tensors;
  }

  has(key: string): boolean {
    return this.#tensors.has(key);
  }

  info(key: string): { readonly shape: readonly number[]; readonly dtype: DType } {
    const tensor = this.#find(key);
    return { shape: tensor.shape, dtype: tensor.check(`tensor ${JSON.stringify(key)}`) };
  }

  async get(key: string): Promise<Tensor> {
    this.info(key); // names the key in its errors
    return this.#find(key).read();
  }

  #find(key: string): TensorRef {
    const tensor = this.#tensors.get(key);
    check(tensor, () => {
      const names = this.keys.slice(0, 5).join(', ') + (this.keys.length > 5 ? ', ...' : '');
      return `openCheckpoint: ${this.origin} has no tensor ${JSON.stringify(key)}. It has ${names}.`;
    });
    if (tensor instanceof Opaque) refuseOpaque(this.origin, JSON.stringify(key), tensor);
    return tensor;
  }
}

function refuseOpaque(path: string, what: string, { name }: Opaque): never {
  throw new FileError(
    `${what} is made by ${name}, which is not on the list of harmless classes: it is not called, and what it ` +
      'would make is unknown. If you trust the file, load it with PyTorch and save its state_dict alone, of plain tensors.',
    path,
  );
}

/**
 * Parts what was saved into the state and the rest. The state is what lies under `state_dict`; without it,
 * every tensor of the file, and the rest is what is no tensor at the top.
 *
 * @throws FileError when the state itself is of an unknown class, or nothing else is there
 */
export function splitState(
  path: string,
  saved: CheckpointValue,
): { state: TorchState; data: CheckpointValue } {
  if (saved instanceof Opaque) refuseOpaque(path, 'what was saved', saved);
  if (!(saved instanceof Map))
    return { state: new TorchState(path, collectTensors(path, saved)), data: saved };
  const given = saved.get('state_dict');
  // The optimizer's tensors would pass for those of the network.
  if (given instanceof Opaque) refuseOpaque(path, '"state_dict"', given);
  const wrapped = given instanceof Map;
  const tensors = collectTensors(path, wrapped ? given : saved);
  if (tensors.size === 0)
    for (const [key, opaque] of collect(path, saved, (value) => value instanceof Opaque))
      refuseOpaque(path, JSON.stringify(key), opaque);
  const listed = new Set<CheckpointValue>(tensors.values());
  const rest = [...saved].filter(([key, value]) =>
    wrapped ? key !== 'state_dict' : !(value instanceof TensorRef || listed.has(value)),
  );
  return { state: new TorchState(path, tensors), data: new Map(rest) };
}
