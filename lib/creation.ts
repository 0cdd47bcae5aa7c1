import { ownShape } from './checks.js';
import { native, type Id } from './native.js';
import type { DType, TypedArray } from './dtype.js';
import { check, checkShape } from './errors.js';
import { empty as room, upload, type Tensor, type TensorOptions } from './tensor.js';

const kernels = native<{ fill(value: number, y: Id): void; cast(x: Id, y: Id): void }>(
  'fill',
  'cast',
);

/** Numbers in nested arrays of equal lengths. */
export type Nested = number | boolean | readonly Nested[];

export interface CreationOptions extends TensorOptions {
  /** Whether `backward()` computes a gradient for the tensor. Default false. */
  requiresGrad?: boolean;
}

export interface FromDataOptions extends CreationOptions {
  /** Default: the nesting of the arrays, or one dimension for a typed array. */
  shape?: readonly number[];
}

const arrayDTypes = new Map<unknown, DType>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Int32Array, 'int32'],
  [BigInt64Array, 'int64'],
  [Uint8Array, 'uint8'],
  [Uint8ClampedArray, 'uint8'],
]);

function nesting(data: Nested): number[] {
  const shape: number[] = [];
  for (let level = data; Array.isArray(level); level = level[0] as Nested) {
    shape.push(level.length);
    if (level.length === 0) break;
  }
  return shape;
}

function flatten(data: Nested, shape: readonly number[], depth: number, out: number[]): void {
  if (depth === shape.length) {
    check(
      !Array.isArray(data),
      () => `tensor: the array is nested deeper than [${shape.join(', ')}] in places`,
    );
    out.push(Number(data));
    return;
  }
  checkShape(
    Array.isArray(data) && data.length === shape[depth],
    () =>
      `tensor: ragged array: expected ${shape[depth]} items at depth ${depth}, got ${Array.isArray(data) ? data.length : typeof data}`,
  );
  for (const item of data as readonly Nested[]) flatten(item, shape, depth + 1, out);
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/**
 * A tensor with the given values, copied.
 *
 * @param data a number, nested arrays, or a typed array in row-major order. The dtype defaults to the typed
 *   array's (`Float32Array` → float32, `Int32Array` → int32, `BigInt64Array` → int64, `Uint8Array` → uint8);
 *   numbers make float32.
 * @throws ShapeError when the values do not fill the shape, or the nesting is ragged.
 */
export function tensor(
  data: Nested | TypedArray | Uint8ClampedArray,
  options: FromDataOptions = {},
): Tensor {
  let values: TypedArray;
  let shape = options.shape && ownShape('tensor', options.shape);
  let from: DType;
  if (ArrayBuffer.isView(data)) {
    const known = arrayDTypes.get(data.constructor);
    check(
      known !== undefined,
      () => `tensor: cannot take a ${data.constructor.name}; use a Float32Array or an array`,
    );
    from = known;
    values = data instanceof Uint8ClampedArray ? new Uint8Array(data) : data;
    shape ??= [values.length];
  } else {
    const flat: number[] = [];
    const nested = nesting(data);
    flatten(data, nested, 0, flat);
    from =
      options.dtype === 'float64' || options.dtype === 'int64' || options.dtype === 'int32'
        ? 'float64'
        : 'float32';
    values = from === 'float64' ? Float64Array.from(flat) : Float32Array.from(flat);
    shape ??= nested;
  }
  const dims = shape;
  checkShape(
    product(dims) === values.length,
    () => `tensor: shape [${dims.join(', ')}] needs ${product(dims)} values, got ${values.length}`,
  );
  const dtype = options.dtype ?? from;
  const source = room(dims, { dtype: from, device: options.device });
  upload(source, values);
  let result = source;
  if (dtype !== from) {
    result = room(dims, { dtype, device: source.device });
    kernels.cast(source.id, result.id);
    source.dispose();
  }
  if (options.requiresGrad) result.requiresGrad = true;
  return result;
}

/**
 * An uninitialised tensor.
 * @param like dtype and device, or a tensor to take them from.
 */
export const empty = (shape: readonly number[], like: TensorOptions = {}): Tensor =>
  room(ownShape('empty', shape), like);

/** A tensor of equal values. `full([2, 3], 0.5)` */
export const full = (
  shape: readonly number[],
  value: number,
  options: CreationOptions = {},
): Tensor => filled(ownShape('full', shape), value, options);

export const zeros = (shape: readonly number[], options: CreationOptions = {}): Tensor =>
  filled(ownShape('zeros', shape), 0, options);

export const ones = (shape: readonly number[], options: CreationOptions = {}): Tensor =>
  filled(ownShape('ones', shape), 1, options);

/** Zeros with the shape, dtype and device of another tensor. */
export const zerosLike = (x: Tensor): Tensor =>
  filled(x.shape, 0, { dtype: x.dtype, device: x.device });

/** Ones with the shape, dtype and device of another tensor. */
export const onesLike = (x: Tensor): Tensor =>
  filled(x.shape, 1, { dtype: x.dtype, device: x.device });

function filled(shape: readonly number[], value: number, options: CreationOptions): Tensor {
  const result = room(shape, options);
  kernels.fill(value, result.id);
  if (options.requiresGrad) result.requiresGrad = true;
  return result;
}

/**
 * `start, start + step, ...` below `stop`. With one argument: from 0. Default dtype float32.
 * @throws ArgumentError for a step of zero or one that leads away from `stop`.
 */
export function arange(
  start: number,
  stop?: number,
  step = 1,
  options: CreationOptions = {},
): Tensor {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  check(
    step !== 0 && (to - from) / step >= 0,
    () => `arange: no way from ${from} to ${to} in steps of ${step}`,
  );
  const count = Math.ceil((to - from) / step);
  const values = Float64Array.from({ length: count }, (_, i) => from + i * step);
  return tensor(values, { dtype: 'float32', ...options });
}

/** `count` evenly spaced values, both ends included. */
export function linspace(
  start: number,
  stop: number,
  count: number,
  options: CreationOptions = {},
): Tensor {
  check(
    Number.isInteger(count) && count >= 1,
    () => `linspace: count must be a positive integer, got ${count}`,
  );
  const values = Float64Array.from({ length: count }, (_, i) =>
    count === 1 ? start : start + ((stop - start) * i) / (count - 1),
  );
  return tensor(values, { dtype: 'float32', ...options });
}

/** The identity matrix [n, n]. */
export function eye(n: number, options: CreationOptions = {}): Tensor {
  const values = new Float32Array(n * n);
  for (let i = 0; i < n; ++i) values[i * n + i] = 1;
  return tensor(values, { shape: [n, n], dtype: options.dtype ?? 'float32', ...options });
}
