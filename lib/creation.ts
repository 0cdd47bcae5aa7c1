import { checkOptions, describe, ownShape } from './checks.js';
import { native, type Id } from './native.js';
import type { DType, TypedArray } from './dtype.js';
import { check, checkShape } from './errors.js';
import { empty as room, Tensor, upload, type TensorOptions } from './tensor.js';

const kernels = native<{ fill(value: number, y: Id): void; cast(x: Id, y: Id): void }>(
  'fill',
  'cast',
);

/** Numbers in nested arrays of equal lengths; rows may be typed arrays. */
export type Nested = number | boolean | bigint | TypedArray | readonly Nested[];

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

type Row = readonly Nested[] | TypedArray;

const isRow = (data: unknown): data is Row =>
  Array.isArray(data) || (ArrayBuffer.isView(data) && !(data instanceof DataView));

function nesting(data: Nested): number[] {
  const shape: number[] = [];
  for (let level = data; isRow(level); level = level[0]) {
    shape.push(level.length);
    if (level.length === 0) break;
  }
  return shape;
}

type Value = number | boolean | bigint;

function flatten(data: Nested, shape: readonly number[], depth: number, out: Value[]): void {
  if (depth === shape.length) {
    check(
      !isRow(data),
      () => `tensor: the array is nested deeper than [${shape.join(', ')}] in places`,
    );
    check(
      typeof data === 'number' || typeof data === 'boolean' || typeof data === 'bigint',
      () =>
        `tensor: expected numbers, booleans or bigints, got ${describe(data)}` +
        ((data as unknown) instanceof Tensor
          ? '; x.detach() shares a tensor, stack() joins several'
          : ''),
    );
    out.push(data);
    return;
  }
  checkShape(
    isRow(data) && data.length === shape[depth],
    () =>
      `tensor: ragged array: expected ${shape[depth]} items at depth ${depth}, got ${isRow(data) ? data.length : typeof data}`,
  );
  for (const item of data as readonly Nested[]) flatten(item, shape, depth + 1, out);
}

// Digits of a bigint are more than a number holds.
function wholeNumber(value: Value): bigint {
  check(
    typeof value !== 'number' || Number.isInteger(value),
    () => `tensor: ${String(value)} among bigints is no integer`,
  );
  const whole = BigInt(value);
  check(
    BigInt.asIntN(64, whole) === whole,
    () => `tensor: ${whole} is beyond the range of int64, [-2^63, 2^63)`,
  );
  return whole;
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/**
 * A tensor with the given values, copied.
 *
 * @param data a number, nested arrays whose rows may be typed arrays, or a typed array in row-major order. The
 *   dtype defaults to a lone typed array's (`Float32Array` → float32, `Int32Array` → int32, `BigInt64Array` → int64,
 *   `Uint8Array` → uint8); all else makes float32. bigints keep all their digits where the dtype is int64.
 * @throws ArgumentError for other values, such as text or tensors.
 * @throws ShapeError when the values do not fill the shape, or the nesting is ragged.
 */
export function tensor(
  data: Nested | TypedArray | Uint8ClampedArray,
  options: FromDataOptions = {},
): Tensor {
  checkOptions('tensor', options);
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
    const flat: Value[] = [];
    const nested = nesting(data);
    flatten(data, nested, 0, flat);
    if (options.dtype === 'int64' && flat.some((value) => typeof value === 'bigint')) {
      from = 'int64';
      values = BigInt64Array.from(flat, wholeNumber);
    } else {
      from =
        options.dtype === 'float64' || options.dtype === 'int64' || options.dtype === 'int32'
          ? 'float64'
          : 'float32';
      values =
        from === 'float64' ? Float64Array.from(flat, Number) : Float32Array.from(flat, Number);
    }
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

function make(op: string, shape: readonly number[], options: TensorOptions): Tensor {
  checkOptions(op, options);
  return room(ownShape(op, shape), options);
}

function filled(result: Tensor, value: number, { requiresGrad }: CreationOptions = {}): Tensor {
  kernels.fill(value, result.id);
  if (requiresGrad) result.requiresGrad = true;
  return result;
}

/**
 * An uninitialised tensor.
 * @param like dtype and device, or a tensor to take them from.
 */
export const empty = (shape: readonly number[], like: TensorOptions = {}): Tensor =>
  make('empty', shape, like);

/** A tensor of equal values. `full([2, 3], 0.5)` */
export const full = (
  shape: readonly number[],
  value: number,
  options: CreationOptions = {},
): Tensor => filled(make('full', shape, options), value, options);

export const zeros = (shape: readonly number[], options: CreationOptions = {}): Tensor =>
  filled(make('zeros', shape, options), 0, options);

export const ones = (shape: readonly number[], options: CreationOptions = {}): Tensor =>
  filled(make('ones', shape, options), 1, options);

/** Zeros with the shape, dtype and device of another tensor. */
export const zerosLike = (x: Tensor): Tensor => filled(room(x.shape, x), 0);

/** Ones with the shape, dtype and device of another tensor. */
export const onesLike = (x: Tensor): Tensor => filled(room(x.shape, x), 1);

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
