import { op } from '../autograd/index.js';
import { checkSameDType, checkTensors, normalizeAxis } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsWidest, toWidest } from './autocast.js';
import { reshape } from './view.js';

const kernels = native<{
  strided_copy(x: Id, strides: readonly number[], offset: number, y: Id): void;
  concat(xs: readonly Id[], axis: number, y: Id): void;
  pad_forward(x: Id, before: readonly number[], mode: number, value: number, y: Id): void;
}>('strided_copy', 'concat', 'pad_forward');

const text = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

// Row-major, in elements.
function denseStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; --axis)
    strides[axis] = strides[axis + 1] * shape[axis + 1];
  return strides;
}

// y[i] = x[offset + i · strides], without history.
function strided(
  x: Tensor,
  shape: readonly number[],
  strides: readonly number[],
  offset = 0,
): Tensor {
  const y = empty(shape, x);
  kernels.strided_copy(x.id, strides, offset, y.id);
  return y;
}

function checkList(name: string, tensors: readonly Tensor[]): void {
  const given: unknown = tensors;
  check(
    Array.isArray(given) && given.length > 0,
    () => `${name}: expected an array of at least one tensor`,
  );
  const named = Object.fromEntries(tensors.map((x, i) => [`tensors[${i}]`, x]));
  checkTensors(name, named);
  if (!needsWidest(tensors)) checkSameDType(name, named);
}

/**
 * Reorders the axes: axis k of the result is axis `axes[k]` of x. `permute(x, [0, 3, 1, 2])` is NHWC → NCHW.
 * @param axes every axis once; negative ones count from the end.
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  checkTensors('permute', { x });
  const order = axes.map((axis) => normalizeAxis('permute', axis, x.rank));
  checkShape(
    order.length === x.rank && new Set(order).size === x.rank,
    () => `permute: ${text(axes)} must name each axis of x ${text(x.shape)} once`,
  );
  const strides = denseStrides(x.shape);
  const y = strided(
    x,
    order.map((axis) => x.shape[axis]),
    order.map((axis) => strides[axis]),
  );
  const inverse = order.map((_, axis) => order.indexOf(axis));
  return op({
    name: 'permute',
    inputs: [x],
    output: y,
    backward: ([dy]) => [permute(dy, inverse)],
  });
}

/** Two axes change places; by default the last two. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  checkTensors('transpose', { x });
  const axes = x.shape.map((_, axis) => axis);
  const [first, second] = [
    normalizeAxis('transpose', a, x.rank),
    normalizeAxis('transpose', b, x.rank),
  ];
  [axes[first], axes[second]] = [axes[second], axes[first]];
  return permute(x, axes);
}

/**
 * One after the other along an axis.
 * @param tensors at least one; equal dtypes, and equal shapes but for the axis.
 */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkList('concat', tensors);
  if (needsWidest(tensors)) return tidy(() => concat(toWidest(tensors), axis));
  const [first] = tensors;
  const along = normalizeAxis('concat', axis, first.rank);
  for (const x of tensors)
    checkShape(
      x.rank === first.rank &&
        x.shape.every((extent, k) => k === along || extent === first.shape[k]),
      () =>
        `concat: shapes may differ along axis ${along} only; got ${text(first.shape)} and ${text(x.shape)}`,
    );
  const sizes = tensors.map((x) => x.shape[along]);
  const shape = first.shape.with(
    along,
    sizes.reduce((a, b) => a + b, 0),
  );
  const y = empty(shape, first);
  kernels.concat(
    tensors.map((x) => x.id),
    along,
    y.id,
  );
  return op({
    name: 'concat',
    inputs: tensors,
    output: y,
    backward: ([dy], _saved, needs) => {
      let start = 0;
      return sizes.map((size, i) => {
        start += size;
        return needs[i] ? narrow(dy, along, start - size, size) : null;
      });
    },
  });
}

/** Tensors of one shape along a new axis, which is placed at `axis` of the result. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  checkList('stack', tensors);
  const [first] = tensors;
  for (const x of tensors)
    checkShape(
      text(x.shape) === text(first.shape),
      () => `stack: all shapes must be equal; got ${text(first.shape)} and ${text(x.shape)}`,
    );
  const along = normalizeAxis('stack', axis, first.rank + 1);
  return concat(
    tensors.map((x) => unsqueeze(x, along)),
    along,
  );
}

/** Pieces of the given sizes along an axis, copied. The sizes must add up to the extent. */
export function split(x: Tensor, sizes: readonly number[], axis = 0): Tensor[] {
  checkTensors('split', { x });
  const along = normalizeAxis('split', axis, x.rank);
  checkShape(
    sizes.every((size) => Number.isInteger(size) && size >= 0) &&
      sizes.reduce((a, b) => a + b, 0) === x.shape[along],
    () =>
      `split: sizes ${text(sizes)} must add up to the extent ${x.shape[along]} of axis ${along} of ${text(x.shape)}`,
  );
  const strides = denseStrides(x.shape);
  let start = 0;
  const pieces = sizes.map((size) => {
    const piece = strided(x, x.shape.with(along, size), strides, start * strides[along]);
    start += size;
    return piece;
  });
  return op({
    name: 'split',
    inputs: [x],
    output: pieces,
    backward: (grads) => [concat(grads, along)],
  });
}

/** `count` pieces of equal extent along an axis, copied. */
export function chunk(x: Tensor, count: number, axis = 0): Tensor[] {
  checkTensors('chunk', { x });
  const extent = x.shape[normalizeAxis('chunk', axis, x.rank)];
  checkShape(
    Number.isInteger(count) && count > 0 && extent % count === 0,
    () =>
      `chunk: the extent ${extent} of axis ${axis} must be divisible by count ${count}; use split for uneven pieces`,
  );
  return split(x, Array<number>(count).fill(extent / count), axis);
}

/** Of one axis: `[start, stop]` or `[start]` (to the end); negative numbers count from the end; null: all of it. */
export type SliceRange = readonly [start: number, stop?: number] | null;

/**
 * A box cut out of x, copied.
 * @param ranges one for each leading axis; the remaining axes are taken whole.
 * @throws ShapeError when a range leaves the tensor.
 */
export function slice(x: Tensor, ranges: readonly SliceRange[]): Tensor {
  checkTensors('slice', { x });
  checkShape(
    ranges.length <= x.rank,
    () => `slice: ${ranges.length} ranges for x of shape ${text(x.shape)}`,
  );
  const starts: number[] = [];
  const shape = x.shape.map((extent, axis) => {
    const range = ranges[axis] ?? [0, extent];
    const [start, stop] = [range[0], range[1] ?? extent].map((end) =>
      end < 0 ? end + extent : end,
    );
    checkShape(
      Number.isInteger(start) &&
        Number.isInteger(stop) &&
        start >= 0 &&
        start <= stop &&
        stop <= extent,
      () =>
        `slice: [${range.join(', ')}] is no range of axis ${axis} of x, whose shape is ${text(x.shape)}`,
    );
    starts.push(start);
    return stop - start;
  });
  const strides = denseStrides(x.shape);
  const offset = starts.reduce((sum, start, axis) => sum + start * strides[axis], 0);
  const whole = x.shape;
  return op({
    name: 'slice',
    inputs: [x],
    output: strided(x, shape, strides, offset),
    backward([dy]) {
      const dx = empty(whole, dy);
      kernels.pad_forward(dy.id, starts, 0, 0, dx.id); // dy in place, zeros around it
      return [dx];
    },
  });
}

/** `length` entries of one axis from `start` (negative: from the end), copied. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  checkTensors('narrow', { x });
  const along = normalizeAxis('narrow', axis, x.rank);
  const extent = x.shape[along];
  const first = start < 0 ? start + extent : start;
  checkShape(
    Number.isInteger(start) &&
      Number.isInteger(length) &&
      first >= 0 &&
      length >= 0 &&
      first + length <= extent,
    () =>
      `narrow: ${length} entries from ${start} are not within axis ${along} of x, whose shape is ${text(x.shape)}`,
  );
  return slice(x, [...Array<null>(along).fill(null), [first, first + length]]);
}

/** One entry of an axis, which disappears: `select(x, 0, 3)` is the fourth image of a batch. */
export function select(x: Tensor, axis: number, index: number): Tensor {
  checkTensors('select', { x });
  const along = normalizeAxis('select', axis, x.rank);
  const extent = x.shape[along];
  checkShape(
    Number.isInteger(index) && index >= -extent && index < extent,
    () => `select: index ${index} is outside axis ${along} of x, whose shape is ${text(x.shape)}`,
  );
  return reshape(narrow(x, along, index, 1), x.shape.toSpliced(along, 1));
}

/** Reverses the given axes (a number or a list). */
export function flip(x: Tensor, axes: number | readonly number[]): Tensor {
  checkTensors('flip', { x });
  const list = typeof axes === 'number' ? [axes] : axes;
  const reversed = new Set(list.map((axis) => normalizeAxis('flip', axis, x.rank)));
  const strides = denseStrides(x.shape);
  let offset = 0;
  for (const axis of reversed) offset += Math.max(x.shape[axis] - 1, 0) * strides[axis];
  const signed = strides.map((stride, axis) => (reversed.has(axis) ? -stride : stride));
  const y = strided(x, x.shape, signed, offset);
  return op({
    name: 'flip',
    inputs: [x],
    output: y,
    backward: ([dy]) => [flip(dy, [...reversed])],
  });
}

/**
 * x repeated to a larger shape by the broadcasting rules: axes are aligned at the end, extents of 1 grow.
 * @param shape -1 keeps an extent.
 */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  checkTensors('expand', { x });
  const lead = shape.length - x.rank;
  const target = shape.map((extent, axis) =>
    extent === -1 && axis >= lead ? x.shape[axis - lead] : extent,
  );
  checkShape(
    lead >= 0 && x.shape.every((extent, axis) => extent === 1 || extent === target[lead + axis]),
    () => `expand: x of shape ${text(x.shape)} does not broadcast to ${text(shape)}`,
  );
  const own = denseStrides(x.shape);
  const strides = target.map((_, axis) =>
    axis < lead || x.shape[axis - lead] === 1 ? 0 : own[axis - lead],
  );
  // The walk sums the gradient over the repeated axes.
  return op({
    name: 'expand',
    inputs: [x],
    output: strided(x, target, strides),
    backward: ([dy]) => [dy],
  });
}

/**
 * x repeated `repeats[k]` times along axis k, as a pattern: [a, b] twice is [a, b, a, b]. With more repeats than
 * axes, new leading axes are added.
 */
export function tile(x: Tensor, repeats: readonly number[]): Tensor {
  checkTensors('tile', { x });
  check(
    repeats.length >= x.rank && repeats.every((count) => Number.isInteger(count) && count >= 0),
    () => `tile: expected a count >= 0 for each axis of x ${text(x.shape)}, got ${text(repeats)}`,
  );
  const extents = [...Array<number>(repeats.length - x.rank).fill(1), ...x.shape];
  // A repeated axis becomes a pair: the copies, then the pattern.
  const pairs = extents.flatMap((extent, axis) => (repeats[axis] === 1 ? [extent] : [1, extent]));
  const grown = extents.flatMap((extent, axis) =>
    repeats[axis] === 1 ? [extent] : [repeats[axis], extent],
  );
  return reshape(
    expand(reshape(x, pairs), grown),
    extents.map((extent, axis) => extent * repeats[axis]),
  );
}

/** Without axes of extent 1: all of them, or the given one. A view. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  checkTensors('squeeze', { x });
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((extent) => extent !== 1),
    );
  const along = normalizeAxis('squeeze', axis, x.rank);
  checkShape(
    x.shape[along] === 1,
    () => `squeeze: axis ${along} of x ${text(x.shape)} has extent ${x.shape[along]}, not 1`,
  );
  return reshape(x, x.shape.toSpliced(along, 1));
}

/** With a new axis of extent 1 at `axis` of the result. A view. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  checkTensors('unsqueeze', { x });
  return reshape(x, x.shape.toSpliced(normalizeAxis('unsqueeze', axis, x.rank + 1), 0, 1));
}

/** The axes from `start` to `end`, both included, become one. A view. */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  checkTensors('flatten', { x });
  if (x.rank === 0) return reshape(x, [1]);
  const [first, last] = [
    normalizeAxis('flatten', start, x.rank),
    normalizeAxis('flatten', end, x.rank),
  ];
  checkShape(first <= last, () => `flatten: start axis ${start} comes after end axis ${end}`);
  const merged = x.shape.slice(first, last + 1).reduce((a, b) => a * b, 1);
  return reshape(x, [...x.shape.slice(0, first), merged, ...x.shape.slice(last + 1)]);
}
