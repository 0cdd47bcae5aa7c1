import { op } from '../autograd/index.js';
import { checkFloating, checkTensors, normalizeAxis } from '../checks.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsWide, toWide } from './autocast.js';

type Forward = (x: Id, axis: number, y: Id) => void;
type Backward = (dy: Id, y: Id, axis: number, dx: Id) => void;

const kernels = native<{
  softmax_forward: Forward;
  softmax_backward: Backward;
  log_softmax_forward: Forward;
  log_softmax_backward: Backward;
}>('softmax_forward', 'softmax_backward', 'log_softmax_forward', 'log_softmax_backward');

/**
 * exp(x) / Σ exp(x) along an axis, without overflow. A series of only -∞ gives NaN.
 * @param axis default the last; negative counts from the end.
 * @returns the shape and dtype of x.
 */
export function softmax(x: Tensor, axis = -1): Tensor {
  return normalized('softmax', x, axis, kernels.softmax_forward, kernels.softmax_backward);
}

/**
 * x - log Σ exp(x) along an axis: the logarithm of softmax, accurate where softmax underflows.
 * @param axis default the last; negative counts from the end.
 * @returns the shape and dtype of x.
 */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return normalized(
    'logSoftmax',
    x,
    axis,
    kernels.log_softmax_forward,
    kernels.log_softmax_backward,
  );
}

function normalized(
  name: string,
  x: Tensor,
  axis: number,
  forward: Forward,
  backward: Backward,
): Tensor {
  checkTensors(name, { x });
  checkFloating(name, { x });
  if (needsWide(x)) return tidy(() => normalized(name, toWide(x), axis, forward, backward));
  const along = normalizeAxis(name, axis, x.rank);
  const y = empty(x.shape, x);
  forward(x.id, along, y.id);
  return op({
    name,
    inputs: [x],
    output: y,
    save: [y],
    backward([dy], [y]) {
      const dx = empty(y.shape, y);
      backward(dy.id, y.id, along, dx.id);
      return [dx];
    },
  });
}
