import { noGrad } from '../autograd/index.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { add, clamp, div } from '../ops/index.js';
import { tidy } from '../scope.js';
import { empty, noteWritten, Tensor } from '../tensor.js';
import { ids } from './copy.js';

const kernels = native<{
  global_norm(xs: Id[], norm: Id): void;
  scale_tensors(xs: Id[], by: Id | null, factor: number): void;
}>('global_norm', 'scale_tensors');

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
 * What gradients of this norm are to be multiplied with so that their norm is at most maxNorm:
 * min(1, maxNorm / (norm + 1e-6)), NaN where the norm is. An optimizer does it in the pass that it makes anyway, which
 * saves reading and writing every gradient once:
 *
 * ```ts
 * const norm = gradNorm(parameters);
 * optimizer.step({ gradScale: clipScale(norm, 1) });
 * ```
 *
 * @param norm one float32 number, as {@link gradNorm} gives it.
 * @returns one float32 number. Nothing waits for the device.
 */
export function clipScale(norm: Tensor, maxNorm: number): Tensor {
  check(maxNorm > 0, () => `clipScale: maxNorm must be above 0, got ${maxNorm}`);
  return noGrad(() => tidy(() => clamp(div(maxNorm, add(norm, 1e-6)), -Infinity, 1)));
}

/**
 * Scales the gradients down, in place, so that their norm is at most maxNorm. Nothing waits for the device. Where
 * nothing else reads them, {@link clipScale} does without a pass over them.
 * @returns the norm before clipping.
 */
export function clipGradNorm(params: Iterable<Tensor>, maxNorm: number): Tensor {
  check(maxNorm > 0, () => `clipGradNorm: maxNorm must be above 0, got ${maxNorm}`);
  const list = [...params];
  const norm = gradNorm(list);
  tidy(() => scaleGradients(list, clipScale(norm, maxNorm)));
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
