import { native, type Id } from '../native.js';
import { noteWritten, type Tensor } from '../tensor.js';

const kernels = native<{ cast(x: Id, y: Id): void }>('cast');

/** @internal Overwrites the values of a tensor of the same shape, converting the dtype. */
export function copyInto(from: Tensor, to: Tensor): void {
  kernels.cast(from.id, to.id);
  noteWritten([to]);
}

/** @internal The native ids of a list. */
export const ids = (tensors: readonly Tensor[]): Id[] => tensors.map((x) => x.id);
