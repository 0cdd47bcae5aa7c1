// The state among a PyTorch checkpoint's data: what a network loads.
import { check } from '../../errors.js';
import type { DType } from '../../dtype.js';
import type { Tensor } from '../../tensor.js';
import type { StateReader } from '../state.js';
import { collectTensors } from './collect.js';
import { TensorRef } from './tensor_ref.js';
import type { CheckpointValue } from './values.js';

/** Named tensors of a PyTorch file. */
export class TorchState implements StateReader {
  readonly keys: readonly string[];
  readonly #tensors: ReadonlyMap<string, TensorRef>;

  constructor(
    readonly origin: string,
    tensors: ReadonlyMap<string, TensorRef>,
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
    return tensor;
  }
}

/**
 * Parts what was saved into the state and the rest. The state is what lies under `state_dict`; without it,
 * every tensor of the file, and the rest is what is no tensor at the top.
 */
export function splitState(
  path: string,
  saved: CheckpointValue,
): { state: TorchState; data: CheckpointValue } {
  if (!(saved instanceof Map))
    return { state: new TorchState(path, collectTensors(path, saved)), data: saved };
  const wrapped = saved.get('state_dict') instanceof Map;
  const source = wrapped ? saved.get('state_dict')! : saved;
  const rest = [...saved].filter(([key, value]) =>
    wrapped ? key !== 'state_dict' : !(value instanceof TensorRef),
  );
  return { state: new TorchState(path, collectTensors(path, source)), data: new Map(rest) };
}
