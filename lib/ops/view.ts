import { backward, op, type BackwardOptions } from '../autograd/index.js';
import { checkTensors, ownShape } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { Tensor, viewOf } from '../tensor.js';

/**
 * The same elements under another shape: a free view of the same memory.
 * @param shape one entry may be -1 and is worked out from the others.
 * @throws ShapeError when the number of elements differs.
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  checkTensors('reshape', { x });
  if (!Array.isArray(shape)) ownShape('reshape', shape);
  const known = shape.reduce((product, dim) => (dim === -1 ? product : product * dim), 1);
  const unknown = shape.filter((dim) => dim === -1).length;
  check(
    shape.every((dim) => Number.isInteger(dim) && dim >= -1),
    () => `reshape: dimensions are integers >= 0, or -1 once; got [${shape.join(', ')}]`,
  );
  checkShape(
    unknown === 0 ? known === x.numel : unknown === 1 && known > 0 && x.numel % known === 0,
    () =>
      `reshape: [${x.shape.join(', ')}] has ${x.numel} elements, which do not fill [${shape.join(', ')}]`,
  );
  const target = shape.map((dim) => (dim === -1 ? x.numel / known : dim));
  return op({
    name: 'reshape',
    inputs: [x],
    output: viewOf(x, target),
    backward: ([dy]) => [viewOf(dy, x.shape)],
  });
}

/** The same memory without history: gradients stop here. */
export function detach(x: Tensor): Tensor {
  checkTensors('detach', { x });
  return op({ name: 'detach', inputs: [x], output: x.alias(), backward: 'not differentiable' });
}

declare module '../tensor.js' {
  interface Tensor {
    /** See {@link reshape}. */
    reshape(shape: readonly number[]): Tensor;
    /** See {@link detach}. */
    detach(): Tensor;
    /** Adds the gradients of every leaf below to their `grad`; see `backward`. */
    backward(gradient?: Tensor, options?: BackwardOptions): void;
  }
}

Object.assign(Tensor.prototype, {
  reshape(this: Tensor, shape: readonly number[]): Tensor {
    return reshape(this, shape);
  },
  detach(this: Tensor): Tensor {
    return detach(this);
  },
  backward(this: Tensor, gradient?: Tensor, options?: BackwardOptions): void {
    backward(this, gradient, options);
  },
});
