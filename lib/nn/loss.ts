// Distances between a prediction and its target. Cross entropy is an operation of its own.
import { ShapeError, check } from '../errors.js';
import { abs, mean, minimum, mul, square, sub, sum } from '../ops/index.js';
import { needsWide, toWide } from '../ops/autocast.js';
import type { Tensor } from '../tensor.js';

export interface LossOptions {
  /** One number from all elements, or none: the elements themselves. Default `mean`. */
  reduction?: 'mean' | 'sum' | 'none';
}

/** (x - y)² */
export function mseLoss(x: Tensor, y: Tensor, options: LossOptions = {}): Tensor {
  return reduce('mseLoss', square(difference('mseLoss', x, y)), options);
}

/** |x - y| */
export function l1Loss(x: Tensor, y: Tensor, options: LossOptions = {}): Tensor {
  return reduce('l1Loss', abs(difference('l1Loss', x, y)), options);
}

/**
 * ½ d² for |d| ≤ delta, delta (|d| - ½ delta) beyond, with d = x - y (Huber, 1964).
 *
 * @param options.delta where the parabola turns into a line. Default 1
 */
export function huberLoss(
  x: Tensor,
  y: Tensor,
  options: LossOptions & { delta?: number } = {},
): Tensor {
  const { delta = 1 } = options;
  check(delta > 0, () => `huberLoss: delta must be positive, got ${delta}`);
  const distance = abs(difference('huberLoss', x, y));
  const inner = minimum(distance, delta);
  // m (|d| - m/2) with m = min(|d|, delta) is both branches at once.
  return reduce('huberLoss', mul(inner, sub(distance, mul(inner, 0.5))), options);
}

// Broadcasting a prediction against its target is always a mistake, and a silent one.
function difference(op: string, x: Tensor, y: Tensor): Tensor {
  if (x.shape.join() !== y.shape.join()) {
    const shapes = `[${x.shape.join(', ')}] and [${y.shape.join(', ')}]`;
    throw new ShapeError(`${op}: prediction and target must have one shape, got ${shapes}`);
  }
  return needsWide(x, y) ? sub(toWide(x), toWide(y)) : sub(x, y);
}

function reduce(op: string, elements: Tensor, { reduction = 'mean' }: LossOptions): Tensor {
  check(['mean', 'sum', 'none'].includes(reduction), () => {
    return `${op}: reduction must be mean, sum or none, got ${reduction}`;
  });
  if (reduction === 'none') return elements;
  return reduction === 'mean' ? mean(elements) : sum(elements);
}
