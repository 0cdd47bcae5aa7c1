import { noGrad, op } from '../autograd/index.js';
import { checkFloating, checkOptions, checkTensors, normalizeAxis } from '../checks.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { isFloating, type DType } from '../dtype.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { div, eq, gt, mul, sqrt, square, sub, where } from './elementwise.js';
import { needsWide, toWide } from './autocast.js';
import { cast } from './cast.js';
import { expand } from './layout.js';
import { reshape } from './view.js';

type Reduce = (x: Id, axes: number[], y: Id) => void;
const kernels = native<Record<string, Reduce>>(
  'reduce_sum',
  'reduce_mean',
  'reduce_prod',
  'reduce_square',
  'reduce_max',
  'reduce_min',
  'reduce_any',
  'reduce_all',
);

/** One axis or several, counted from either end. Default: all of them. */
export type Axes = number | readonly number[];

export interface ReduceOptions {
  /** Keep the reduced axes with extent 1. Default false. */
  keepDims?: boolean;
}

interface Plan {
  axes: number[];
  /** Result shape with the reduced axes as 1: broadcasts against x. */
  kept: number[];
  shape: number[];
  /** Elements per result. */
  count: number;
}

function plan(name: string, x: Tensor, axis: Axes | undefined, options: ReduceOptions): Plan {
  checkOptions(name, options);
  const { keepDims = false } = options;
  const given =
    axis === undefined ? x.shape.map((_, i) => i) : typeof axis === 'number' ? [axis] : axis;
  const axes = given.map((each) => normalizeAxis(name, each, x.rank)).sort((a, b) => a - b);
  check(
    new Set(axes).size === axes.length,
    () => `${name}: axis [${given.join(', ')}] names one axis twice`,
  );
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  const shape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
  return { axes, kept, shape, count: axes.reduce((product, i) => product * x.shape[i], 1) };
}

function run(kernel: Reduce, x: Tensor, { axes, shape }: Plan, dtype: DType): Tensor {
  const y = empty(shape, { dtype, device: x.device });
  kernel(x.id, axes, y.id);
  return y;
}

const sumDType = (x: Tensor): DType => (isFloating(x.dtype) ? x.dtype : 'int64');

// A gradient of the result's shape, repeated over the axes that were reduced.
const spread = (dy: Tensor, { kept }: Plan, shape: readonly number[]): Tensor =>
  expand(reshape(dy, kept), shape);

/** Sum over axes. Integers and bool sum to int64. The sum of nothing is 0. */
export function sum(x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor {
  checkTensors('sum', { x });
  if (needsWide(x)) return tidy(() => sum(toWide(x), axis, options));
  const p = plan('sum', x, axis, options);
  const { shape } = x;
  return op({
    name: 'sum',
    inputs: [x],
    output: run(kernels.reduce_sum, x, p, sumDType(x)),
    backward: ([dy]) => [spread(dy, p, shape)],
  });
}

/** Mean over axes, of a floating dtype. The mean of nothing is NaN. */
export function mean(x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor {
  checkTensors('mean', { x });
  checkFloating('mean', { x });
  if (needsWide(x)) return tidy(() => mean(toWide(x), axis, options));
  const p = plan('mean', x, axis, options);
  const { shape } = x;
  return op({
    name: 'mean',
    inputs: [x],
    output: run(kernels.reduce_mean, x, p, x.dtype),
    backward: ([dy]) => [spread(mul(dy, 1 / p.count), p, shape)],
  });
}

// The product of the others, for each element: where one of them is 0 that is 0, and where the element is
// the only 0 it is the product of the rest.
function productOfOthers(x: Tensor, { axes }: Plan): Tensor {
  const zero = eq(x, 0);
  const safe = where(zero, 1, x);
  const zeros = sum(zero, axes, { keepDims: true });
  const otherZeros = sub(zeros, cast(zero, 'int64'));
  return where(eq(otherZeros, 0), div(prod(safe, axes, { keepDims: true }), safe), 0);
}

/** Product over axes. Integers multiply to int64. The product of nothing is 1. */
export function prod(x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor {
  checkTensors('prod', { x });
  if (needsWide(x)) return tidy(() => prod(toWide(x), axis, options));
  const p = plan('prod', x, axis, options);
  const y = run(kernels.reduce_prod, x, p, sumDType(x));
  return op({
    name: 'prod',
    inputs: [x],
    output: y,
    save: [x],
    backward: ([dy], [x]) => [mul(spread(dy, p, x.shape), productOfOthers(x, p))],
  });
}

function extreme(
  name: 'max' | 'min',
  x: Tensor,
  axis: Axes | undefined,
  options: ReduceOptions,
): Tensor {
  checkTensors(name, { x });
  const p = plan(name, x, axis, options);
  const y = run(name === 'max' ? kernels.reduce_max : kernels.reduce_min, x, p, x.dtype);
  return op({
    name,
    inputs: [x],
    output: y,
    save: [x, y],
    backward: ([dy], [x, y]) => {
      const hit = cast(eq(x, spread(y, p, x.shape)), dy.dtype);
      const share = div(dy, sum(hit, p.axes, { keepDims: dy.rank === x.rank }));
      return [mul(hit, spread(share, p, x.shape))];
    },
  });
}

/** Largest element over axes; NaN wins. Equal largest elements share the gradient. */
export const max = (x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor =>
  extreme('max', x, axis, options);

/** Smallest element over axes; NaN wins. Equal smallest elements share the gradient. */
export const min = (x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor =>
  extreme('min', x, axis, options);

export interface VarianceOptions extends ReduceOptions {
  /** Subtracted from the count in the divisor. Default 1: the unbiased estimate. */
  correction?: number;
}

// Squares leave float16's range and bfloat16's precision early: 16-bit dtypes are computed in float32.
function in32Bits(x: Tensor, body: (wide: Tensor) => Tensor): Tensor {
  if (x.dtype !== 'float16' && x.dtype !== 'bfloat16') return tidy(() => body(x));
  return tidy(() => cast(body(cast(x, 'float32')), x.dtype));
}

function varianceOf(
  name: string,
  x: Tensor,
  axis: Axes | undefined,
  options: VarianceOptions,
  finish: (variance: Tensor) => Tensor,
): Tensor {
  checkTensors(name, { x });
  checkFloating(name, { x });
  if (needsWide(x)) return tidy(() => varianceOf(name, toWide(x), axis, options, finish));
  const { correction = 1, ...shape } = options;
  const { count } = plan(name, x, axis, shape);
  return in32Bits(x, (x) => {
    const centred = sub(x, mean(x, axis, { keepDims: true }));
    return finish(mul(sum(square(centred), axis, shape), 1 / Math.max(0, count - correction)));
  });
}

/** Variance over axes: mean squared distance from the mean, with Bessel's correction by default. */
export const variance = (x: Tensor, axis?: Axes, options: VarianceOptions = {}): Tensor =>
  varianceOf('variance', x, axis, options, (variance) => variance);

/** Standard deviation over axes; see {@link variance}. Its gradient where it is 0 is 0. */
export const std = (x: Tensor, axis?: Axes, options: VarianceOptions = {}): Tensor =>
  varianceOf('std', x, axis, options, flatRoot);

// √x whose gradient at 0 is 0: what varies about a point has no direction there.
function flatRoot(x: Tensor): Tensor {
  const y = noGrad(() => sqrt(x));
  return op({
    name: 'std',
    inputs: [x],
    output: y,
    save: [y],
    backward: ([dy], [y]) => [where(eq(y, 0), 0, div(dy, mul(y, 2)))],
  });
}

/** Euclidean norm over axes. Its gradient at 0 is 0. */
export function norm(x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor {
  checkTensors('norm', { x });
  checkFloating('norm', { x });
  if (needsWide(x)) return tidy(() => norm(toWide(x), axis, options));
  const p = plan('norm', x, axis, options);
  return in32Bits(x, (x) => {
    const squares = run(kernels.reduce_square, x, p, x.dtype);
    const y = noGrad(() => sqrt(squares));
    return op({
      name: 'norm',
      inputs: [x],
      output: y,
      save: [x, y],
      backward: ([dy], [x, y]) => {
        const scale = where(gt(y, 0), div(dy, y), 0);
        return [mul(x, spread(scale, p, x.shape))];
      },
    });
  });
}

function truth(
  name: 'any' | 'all',
  x: Tensor,
  axis: Axes | undefined,
  options: ReduceOptions,
): Tensor {
  checkTensors(name, { x });
  const kernel = name === 'any' ? kernels.reduce_any : kernels.reduce_all;
  const output = run(kernel, x, plan(name, x, axis, options), 'bool');
  return op({ name, inputs: [x], output, backward: 'not differentiable' });
}

/** Whether some element over the axes differs from 0, as bool. */
export const any = (x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor =>
  truth('any', x, axis, options);

/** Whether every element over the axes differs from 0, as bool. */
export const all = (x: Tensor, axis?: Axes, options: ReduceOptions = {}): Tensor =>
  truth('all', x, axis, options);
