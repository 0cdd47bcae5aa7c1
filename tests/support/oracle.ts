// Tiny float64 n-d arrays for reference functions: clear before fast, and independent of the engine.

export interface NdArray {
  data: Float64Array;
  shape: readonly number[];
}

export function size(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

export function nd(data: ArrayLike<number>, shape: readonly number[]): NdArray {
  if (data.length !== size(shape))
    throw new Error(`nd: ${data.length} values do not fill the shape [${shape.join(', ')}]`);
  return { data: new Float64Array(data), shape: [...shape] };
}

/** Every element from its index: generate([2, 3], (i, j) => ...). */
export function generate(shape: readonly number[], value: (...index: number[]) => number): NdArray {
  const data = new Float64Array(size(shape));
  const index = shape.map(() => 0);
  for (let flat = 0; flat < data.length; flat++) {
    data[flat] = value(...index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  return { data, shape: [...shape] };
}

export function at(x: NdArray, ...index: number[]): number {
  if (index.length !== x.shape.length)
    throw new Error(`at: ${index.length} indices for the shape [${x.shape.join(', ')}]`);
  let flat = 0;
  index.forEach((position, axis) => {
    if (position < 0 || position >= x.shape[axis])
      throw new Error(`at: index [${index.join(', ')}] is outside [${x.shape.join(', ')}]`);
    flat = flat * x.shape[axis] + position;
  });
  return x.data[flat];
}

export function broadcastShapes(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const extents = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    const extent = extents.find((candidate) => candidate !== 1) ?? 1;
    if (extents.some((candidate) => candidate !== 1 && candidate !== extent))
      throw new Error(`broadcastShapes: ${extents.join(' and ')} do not broadcast`);
    return extent;
  });
}

/** fn over broadcast arguments: map((a, b) => a + b, x, y). */
export function map(fn: (...values: number[]) => number, ...arrays: NdArray[]): NdArray {
  const shape = broadcastShapes(...arrays.map((array) => array.shape));
  return generate(shape, (...index) =>
    fn(
      ...arrays.map((array) => {
        const own = index.slice(shape.length - array.shape.length);
        return at(array, ...own.map((position, axis) => (array.shape[axis] === 1 ? 0 : position)));
      }),
    ),
  );
}

/** Collects the values along the axes and folds each group: reduce(x, [1], (v) => Math.max(...v)). */
export function reduce(
  x: NdArray,
  axes: readonly number[],
  fold: (values: number[]) => number,
  keepDims = false,
): NdArray {
  const reduced = axes.map((axis) => (axis + x.shape.length) % x.shape.length);
  const keptShape = x.shape.map((extent, axis) => (reduced.includes(axis) ? 1 : extent));
  const groups: number[][] = Array.from({ length: size(keptShape) }, () => []);
  let flat = 0;
  generate(x.shape, (...index) => {
    let group = 0;
    keptShape.forEach((extent, axis) => {
      group = group * extent + (reduced.includes(axis) ? 0 : index[axis]);
    });
    groups[group].push(x.data[flat++]);
    return 0;
  });
  const shape = keepDims ? keptShape : x.shape.filter((_, axis) => !reduced.includes(axis));
  return nd(groups.map(fold), shape);
}

export const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
export const average = (values: readonly number[]): number => total(values) / values.length;

/** [..., M, K] x [..., K, N] with broadcast leading axes. */
export function matmul(a: NdArray, b: NdArray): NdArray {
  const [m, k] = a.shape.slice(-2);
  const n = b.shape[b.shape.length - 1];
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  // Flat: of a few cases hundreds of millions of products pass through here.
  const matrix = ({ shape }: NdArray, place: number[]) => {
    const lead = shape.slice(0, -2);
    const own = place.slice(batch.length - lead.length);
    const which = lead.reduce((flat, extent, axis) => flat * extent + (own[axis] % extent), 0);
    return which * size(shape.slice(-2));
  };
  const [left, right] = [a.data, b.data];
  return generate([...batch, m, n], (...index) => {
    const place = index.slice(0, batch.length);
    const [row, column] = index.slice(batch.length);
    const fromA = matrix(a, place) + row * k;
    const fromB = matrix(b, place) + column;
    let sum = 0;
    for (let i = 0; i < k; i++) sum += left[fromA + i] * right[fromB + i * n];
    return sum;
  });
}

export function permute(x: NdArray, order: readonly number[]): NdArray {
  const shape = order.map((axis) => x.shape[axis]);
  return generate(shape, (...index) => {
    const source: number[] = [];
    order.forEach((axis, position) => (source[axis] = index[position]));
    return at(x, ...source);
  });
}
