import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, noteWritten, Tensor } from '../tensor.js';
import { ids } from './copy.js';

const kernels = native<{
  global_norm(xs: Id[], norm: Id): void;
  clip_by_norm(xs: Id[], norm: Id, maxNorm: number): void;
  scale_tensors(xs: Id[], by: Id | null, factor: number): void;
}>('global_norm', 'clip_by_norm', 'scale_tensors');

const gradientsOf = (params: Iterable<Tensor>): Tensor[] =>
  [...params].map((param) => param.grad).filter((grad) => grad !== null);

/**
 * The Euclidean norm over all gradients together: one float32 number, still on the device. Parameters without a
 * gradient count as zero.
 */
export function gradNorm(params: Iterable<Tensor>): Tensor {
  const list = [...params];
  check(list.length > 0, () => 'gradNorm: no parameters were given');
  const norm = empty([], { device: list[0].device });
  kernels.global_norm(ids(gradientsOf(list)), norm.id);
  return norm;
}

/**
 * Scales the gradients down, in place, so that their norm is at most maxNorm. Nothing waits for the device.
 * @returns the norm before clipping.
 */
export function clipGradNorm(params: Iterable<Tensor>, maxNorm: number): Tensor {
  check(maxNorm > 0, () => `clipGradNorm: maxNorm must be above 0, got ${maxNorm}`);
  const list = [...params];
  const norm = gradNorm(list);
  const grads = gradientsOf(list);
  kernels.clip_by_norm(ids(grads), norm.id, maxNorm);
  noteWritten(grads);
  return norm;
}

/**
 * Multiplies all gradients in place: by 1 / k after k accumulated batches, or by a number on the device.
 * @param factor a number, or a float32 tensor of one element.
 */
export function scaleGradients(params: Iterable<Tensor>, factor: number | Tensor): void {
  const grads = gradientsOf(params);
  if (grads.length === 0) return;
  if (factor instanceof Tensor) kernels.scale_tensors(ids(grads), factor.id, 1);
  else kernels.scale_tensors(ids(grads), null, factor);
  noteWritten(grads);
}
