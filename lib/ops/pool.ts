import { op } from '../autograd/index.js';
import { checkFloating, checkRank, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';

type Pair = readonly [number, number];

// prettier-ignore
const kernels = native<{
  avg_pool2d_forward(x: Id, kernel: Pair, stride: Pair, padding: Pair, y: Id): void;
  avg_pool2d_backward(dy: Id, kernel: Pair, stride: Pair, padding: Pair, dx: Id): void;
  max_pool2d_forward(x: Id, kernel: Pair, stride: Pair, padding: Pair, y: Id, index: Id): void;
  max_pool2d_backward(dy: Id, index: Id, kernel: Pair, stride: Pair, padding: Pair, dx: Id): void;
}>('avg_pool2d_forward', 'avg_pool2d_backward', 'max_pool2d_forward', 'max_pool2d_backward');

export interface Pool2dOptions {
  /** Extent of the window, for both axes or [height, width]. */
  kernel: number | Pair;
  /** Distance of the windows. Default: `kernel`, windows side by side. */
  stride?: number | Pair;
  /** Pixels added on each side; at most half the kernel. Default 0. */
  padding?: number | Pair;
}

/** @internal One or two integers of at least `least` as [height, width]. */
export function pair(op: string, name: string, value: number | Pair, least: number): Pair {
  const both = typeof value === 'number' ? ([value, value] as const) : value;
  check(
    Array.isArray(both) &&
      both.length === 2 &&
      both.every((n) => Number.isInteger(n) && n >= least),
    () => `${op}: ${name} must be integers >= ${least}, got ${String(value)}`,
  );
  return both;
}

function windows(name: string, x: Tensor, options: Pool2dOptions) {
  checkTensors(name, { x });
  checkFloating(name, { x });
  checkRank(name, 'x', x, 4);
  const kernel = pair(name, 'kernel', options.kernel, 1);
  const stride = pair(name, 'stride', options.stride ?? kernel, 1);
  const padding = pair(name, 'padding', options.padding ?? 0, 0);
  check(
    2 * padding[0] <= kernel[0] && 2 * padding[1] <= kernel[1],
    () =>
      `${name}: padding (${padding.join(', ')}) must be at most half the kernel (${kernel.join(', ')})`,
  );
  const extent = (axis: 0 | 1) =>
    Math.floor((x.shape[axis + 1] + 2 * padding[axis] - kernel[axis]) / stride[axis]) + 1;
  const [height, width] = [extent(0), extent(1)];
  checkShape(
    x.shape[1] > 0 && x.shape[2] > 0 && height > 0 && width > 0,
    () => `${name}: a window of ${kernel.join(' x ')} does not fit into ${x.describe()}`,
  );
  return { kernel, stride, padding, outShape: [x.shape[0], height, width, x.shape[3]] };
}

/**
 * Mean over windows; padding counts as zeros. Remainders at the right and bottom are dropped.
 * @param x [N, H, W, C], float dtypes.
 * @returns [N, OH, OW, C] with OH = floor((H + 2·padding − kernel) / stride) + 1.
 */
export function avgPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const { kernel, stride, padding, outShape } = windows('avgPool2d', x, options);
  const y = empty(outShape, x);
  kernels.avg_pool2d_forward(x.id, kernel, stride, padding, y.id);
  const { shape } = x;
  return op({
    name: 'avgPool2d',
    inputs: [x],
    output: y,
    backward([dy]) {
      const dx = empty(shape, dy);
      kernels.avg_pool2d_backward(dy.id, kernel, stride, padding, dx.id);
      return [dx];
    },
  });
}

/**
 * Maximum over windows; NaN counts as the largest. The gradient goes to the first maximum of a window in
 * row-major order. Remainders at the right and bottom are dropped.
 * @param x [N, H, W, C], float dtypes.
 * @returns [N, OH, OW, C] with OH = floor((H + 2·padding − kernel) / stride) + 1.
 */
export function maxPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const { kernel, stride, padding, outShape } = windows('maxPool2d', x, options);
  const y = empty(outShape, x);
  const index = empty(outShape, { dtype: 'int32', device: x.device });
  kernels.max_pool2d_forward(x.id, kernel, stride, padding, y.id, index.id);
  const { shape } = x;
  return op({
    name: 'maxPool2d',
    inputs: [x],
    output: y,
    save: [index],
    backward([dy], [index]) {
      const dx = empty(shape, dy);
      kernels.max_pool2d_backward(dy.id, index.id, kernel, stride, padding, dx.id);
      return [dx];
    },
  });
}
