import { DeviceError, DTypeError, DisposedError, ArgumentError, ShapeError } from './errors.js';
import { isFloating, type DType } from './dtype.js';
import { Tensor } from './tensor.js';

/** Named arguments of an operation; missing optional ones are null or undefined. */
type Arguments = Readonly<Record<string, Tensor | null | undefined>>;

/**
 * Every given argument is a live tensor, and all are on one device.
 * @throws ArgumentError, DisposedError or DeviceError that names the argument.
 */
export function checkTensors(op: string, args: Arguments): void {
  let first: [string, Tensor] | undefined;
  for (const name in args) {
    const x = args[name];
    if (x === null || x === undefined) continue;
    if (!(x instanceof Tensor)) throw notATensor(op, name, x);
    if (x.disposed)
      throw new DisposedError(
        `${op}: ${name} (${x.describe()}) was disposed; keep() or return it from tidy`,
      );
    if (first && x.device !== first[1].device)
      throw new DeviceError(
        `${op}: ${first[0]} is on ${first[1].device}, ${name} on ${x.device}; move one with .to()`,
      );
    first ??= [name, x];
  }
}

/** Every given argument has a floating dtype. */
export function checkFloating(op: string, args: Arguments): void {
  for (const name in args) {
    const x = args[name];
    if (x && !isFloating(x.dtype))
      throw new DTypeError(
        `${op}: ${name} must have a floating dtype, got ${x.describe()}; convert it with .to('float32')`,
      );
  }
}

/** Every given argument has the same dtype. */
export function checkSameDType(op: string, args: Arguments): void {
  let first: [string, DType] | undefined;
  for (const name in args) {
    const x = args[name];
    if (!x) continue;
    if (first && x.dtype !== first[1])
      throw new DTypeError(
        `${op}: ${first[0]} is ${first[1]} but ${name} is ${x.dtype}; convert one with .to('${first[1]}')`,
      );
    first ??= [name, x.dtype];
  }
}

/** The argument's dtype is one of those listed. */
export function checkDType(op: string, name: string, x: Tensor, allowed: readonly DType[]): void {
  if (!allowed.includes(x.dtype))
    throw new DTypeError(`${op}: ${name} must be ${allowed.join(' or ')}, got ${x.describe()}`);
}

/** The argument has this many dimensions. */
export function checkRank(op: string, name: string, x: Tensor, rank: number): void {
  if (x.rank !== rank)
    throw new ShapeError(
      `${op}: ${name} must have ${rank} dimensions, got shape [${x.shape.join(', ')}]`,
    );
}

/** The error of an operand that is no tensor, or missing, where none may be. */
export const notATensor = (op: string, name: string, given: unknown): ArgumentError =>
  new ArgumentError(`${op}: ${name} must be a Tensor, got ${describe(given)}`);

/** Options are an object: other values would pass for one without any. */
export function checkOptions(op: string, options: object): void {
  if (typeof options !== 'object' || options === null)
    throw new ArgumentError(
      `${op}: options must be an object such as { dtype: 'float32' }, got ${describe(options)}`,
    );
}

/** What a caller gave as a shape, as an array of the tensor's own: the caller's may change afterwards. */
export function ownShape(op: string, shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape))
    throw new ArgumentError(
      `${op}: the shape must be an array such as [2, 3], got ${describe(shape)}`,
    );
  return [...shape];
}

/** An axis counted from either end, as an index from the front. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
    throw new ShapeError(`${op}: axis ${axis} does not exist in ${rank} dimensions`);
  return axis < 0 ? axis + rank : axis;
}

/** A wrong value in an error message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'object') return value.constructor?.name ?? 'object';
  return `${typeof value} ${String(value).slice(0, 40)}`;
}
