import { op } from '../autograd/index.js';
import { checkTensors, normalizeAxis } from '../checks.js';
import { check, DTypeError } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsWide, toWide } from './autocast.js';
import { reshape } from './view.js';

const kernels = native<{
  cumsum(x: Id, axis: number, reverse: boolean, y: Id): void;
  arg_extreme(x: Id, axis: number, largest: boolean, y: Id): void;
  topk_forward(x: Id, axis: number, largest: boolean, values: Id, indices: Id): void;
  topk_backward(indices: Id, dy: Id, axis: number, dx: Id): void;
}>('cumsum', 'arg_extreme', 'topk_forward', 'topk_backward');

// y_i = Σ x_j over j <= i along the axis, or over j >= i: each direction is the other's gradient.
function running(x: Tensor, axis: number, reverse: boolean): Tensor {
  const y = empty(x.shape, x);
  kernels.cumsum(x.id, axis, reverse, y.id);
  return op({
    name: 'cumsum',
    inputs: [x],
    output: y,
    backward: ([dy]) => [running(dy, axis, !reverse)],
  });
}

/** Sums of the elements up to each one, along an axis. Keeps the dtype, which is not bool. */
export function cumsum(x: Tensor, axis: number): Tensor {
  checkTensors('cumsum', { x });
  if (x.dtype === 'bool') throw new DTypeError(`cumsum: x is bool; convert it with .to('int64')`);
  const along = normalizeAxis('cumsum', axis, x.rank);
  return needsWide(x) ? tidy(() => running(toWide(x), along, false)) : running(x, along, false);
}

export interface ArgOptions {
  /** Keep the axis with extent 1. Default false. */
  keepDims?: boolean;
}

function argExtreme(
  name: 'argmax' | 'argmin',
  x: Tensor,
  axis: number | undefined,
  options: ArgOptions,
): Tensor {
  checkTensors(name, { x });
  const [line, along] =
    axis === undefined
      ? [reshape(x.detach(), [x.numel]), 0]
      : [x, normalizeAxis(name, axis, x.rank)];
  check(
    line.shape[along] > 0 || line.numel > 0,
    () => `${name}: ${x.describe()} is empty along axis ${along}`,
  );
  const { keepDims = false } = options;
  const shape =
    axis === undefined
      ? x.shape.flatMap(() => (keepDims ? [1] : []))
      : x.shape.flatMap((dim, i) => (i !== along ? [dim] : keepDims ? [1] : []));
  const y = empty(shape, { dtype: 'int64', device: x.device });
  kernels.arg_extreme(line.id, along, name === 'argmax', y.id);
  if (line !== x) line.dispose();
  return op({ name, inputs: [x], output: y, backward: 'not differentiable' });
}

/**
 * Index of the largest element along an axis as int64, the first of equals; a NaN counts as largest.
 * @param axis default: the index into the flattened tensor.
 */
export const argmax = (x: Tensor, axis?: number, options: ArgOptions = {}): Tensor =>
  argExtreme('argmax', x, axis, options);

/** Index of the smallest element along an axis as int64; see {@link argmax}. */
export const argmin = (x: Tensor, axis?: number, options: ArgOptions = {}): Tensor =>
  argExtreme('argmin', x, axis, options);

export interface TopKOptions {
  /** Default: the last. */
  axis?: number;
  /** false: the k smallest. Default true. */
  largest?: boolean;
}

/**
 * The k largest elements along an axis in descending order, and their int64 indices. Of equal elements the
 * lower index comes first; a NaN counts as largest (or smallest). Gradients flow to the chosen elements.
 * @throws ArgumentError when k exceeds the axis.
 */
export function topK(
  x: Tensor,
  k: number,
  options: TopKOptions = {},
): [values: Tensor, indices: Tensor] {
  checkTensors('topK', { x });
  const { axis: given = -1, largest = true } = options;
  const axis = normalizeAxis('topK', given, x.rank);
  check(
    Number.isInteger(k) && k >= 0 && k <= x.shape[axis],
    () =>
      `topK: k must be an integer from 0 to ${x.shape[axis]}, the extent of axis ${axis}; got ${k}`,
  );
  const from = x.shape;
  const shape = from.map((dim, i) => (i === axis ? k : dim));
  const values = empty(shape, x);
  const indices = empty(shape, { dtype: 'int64', device: x.device });
  kernels.topk_forward(x.id, axis, largest, values.id, indices.id);
  op({
    name: 'topK',
    inputs: [x],
    output: values,
    save: [indices],
    backward: ([dy], [indices]) => {
      const dx = empty(from, dy);
      kernels.topk_backward(indices.id, dy.id, axis, dx.id);
      return [dx];
    },
  });
  return [values, indices];
}
