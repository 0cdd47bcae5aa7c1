// Which points lie near which: products in float32 say it of nearly all pairs, and the few that they leave open are
// computed in float64. Decisions are those of exact distances, for half the work.
import { autocast } from '../ops/autocast.js';
import { matmul } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import type { PairOptions } from './distances.js';
import { blocksOf, readBlock, type Block } from './features.js';

/**
 * How far 2 x·y may be off, relative to |x|² + |y|². With u = 2⁻²⁴, rounding both vectors to float32 costs 2u, and D
 * terms, multiplied and summed in any order, fused or not, cost D u (Jeannerod and Rump, 2013), each of
 * Σ |xᵢ yᵢ| ≤ |x| |y| ≤ (|x|² + |y|²) / 2. What is left of the 8 covers the float64 arithmetic around it: that of the
 * centred vectors, of their squares and of the exact distances, some D 2⁻⁵³.
 */
const relativeError = (width: number): number => (width + 8) * 2 ** -24 * 1.01;

/** Products of vectors whose squares are below this stay in float32's range, and so do all sums on the way. */
const largest = 1e38;
/**
 * What underflow may lose beyond that, kept or flushed to 0: D terms of 2⁻¹²⁶, and as much of each element, times
 * elements of the other vector that are too small for the relative part to cover.
 */
const smallest = 1e-30;

/** Some rows of a set. */
interface Rows extends Block {
  /** [n, D], the elements themselves */
  readonly data: Float32Array | Float64Array;
  /** Squared lengths from the centre. */
  readonly squares: Float64Array;
  /** [n, D] from the centre, float32 */
  readonly centred: Tensor;
}

/**
 * Squared distances between the rows of two blocks, known within bounds: element (i, j) counted from the blocks'
 * beginnings lies above `below[i] + columnsBelow[j] − 2 products[i · columns + j]`, and below the same of `above`.
 */
export class BoundedDistances {
  readonly below: Float64Array;
  readonly columnsBelow: Float64Array;
  readonly above: Float64Array;
  readonly columnsAbove: Float64Array;

  constructor(
    readonly rows: Pick<Rows, 'begin' | 'end' | 'data' | 'squares'>,
    readonly columns: Pick<Rows, 'begin' | 'end' | 'data' | 'squares'>,
    readonly products: Float32Array,
    private readonly width: number,
  ) {
    const overflows = [rows, columns].some(({ squares }) =>
      squares.some((each) => !(each < largest)),
    );
    // Where products may have overflowed nothing is known: bounds that hold always leave all to `exact`.
    const error = overflows ? Infinity : relativeError(width);
    const bound = ({ squares }: Pick<Rows, 'squares'>, sign: 1 | -1) =>
      squares.map((each) => each + sign * (each * error + smallest));
    this.below = bound(rows, -1);
    this.columnsBelow = bound(columns, -1);
    this.above = bound(rows, 1);
    this.columnsAbove = bound(columns, 1);
  }

  /** Whether the distance of row i and column j, counted from the blocks' beginnings, is at most the limit. */
  within(i: number, j: number, limit: number): boolean {
    const product = 2 * this.products[i * this.columnsBelow.length + j];
    if (this.below[i] + this.columnsBelow[j] - product > limit) return false;
    if (this.above[i] + this.columnsAbove[j] - product < limit) return true;
    return this.exact(i, j) <= limit;
  }

  /** Σ (x − y)² in float64; 0 for equal vectors. */
  exact(i: number, j: number): number {
    const { width } = this;
    const [x, y] = [this.rows.data, this.columns.data];
    let sum = 0;
    for (let d = 0, a = i * width, b = j * width; d < width; d++, a++, b++) {
      const difference = x[a] - y[b];
      sum += difference * difference;
    }
    return sum;
  }
}

interface VisitOptions extends PairOptions {
  /** Of a set with itself: leaves blocks out that hold only pairs (i, j) with j < i. Default false. */
  upperHalf?: boolean;
}

/**
 * Visits all pairs of rows of x [N, D] and y [M, D], block by block.
 *
 * @param centre [D], float64 on the CPU: the nearer the points lie to it, the fewer distances are left open
 */
export async function visitBounded(
  x: Tensor,
  y: Tensor,
  centre: Tensor,
  visit: (distances: BoundedDistances) => void,
  { signal, upperHalf = false }: VisitOptions = {},
): Promise<void> {
  const blocks = (set: Tensor) => blocksOf(set.shape[0], set.shape[1]);
  const compute = async (left: Rows, block: Block): Promise<BoundedDistances> => {
    const right = await readRows(y, block, centre);
    try {
      const products = await tidy(() =>
        autocast(false, () => matmul(left.centred, right.centred, { transposeB: true })).data(),
      );
      return new BoundedDistances(left, right, products as Float32Array, x.shape[1]);
    } finally {
      right.centred.dispose();
    }
  };
  for (const rows of joined(blocks(x))) {
    const left = await readRows(x, rows, centre);
    try {
      const wanted = blocks(y).filter(({ end }) => !upperHalf || end > rows.begin);
      // The engine computes the next block while this one is looked at.
      let next = compute(left, wanted[0]);
      for (const i of wanted.keys()) {
        const distances = await next;
        signal?.throwIfAborted();
        if (i + 1 < wanted.length) next = compute(left, wanted[i + 1]);
        visit(distances);
      }
    } finally {
      left.centred.dispose();
    }
  }
}

// Four blocks in a row as one, for which the other side is read a quarter as often.
function joined(blocks: readonly Block[]): Block[] {
  return blocks.flatMap(({ begin }, i) => {
    return i % 4 > 0 ? [] : [{ begin, end: (blocks[i + 3] ?? blocks[blocks.length - 1]).end }];
  });
}

function readRows(set: Tensor, block: Block, centre: Tensor): Promise<Rows> {
  return tidy(async () => {
    const wide = readBlock(set, block);
    const centred = wide.sub(centre);
    const squares = (await centred.square().sum(1).data()) as Float64Array;
    // Every other dtype lies within float32.
    const elements = set.dtype === 'float64' ? wide : wide.to('float32');
    const data = (await elements.data()) as Rows['data'];
    return { ...block, data, squares, centred: centred.to('float32') };
  });
}

/** Mean of the rows in float64 on the CPU. */
export async function centreOf(set: Tensor): Promise<Tensor> {
  const [count, width] = set.shape;
  return tidy(() => {
    const sums = blocksOf(count, width).map((block) => tidy(() => readBlock(set, block).sum(0)));
    return Promise.resolve(sums.reduce((a, b) => a.add(b)).div(count));
  });
}

/**
 * For each of `ks`, the squared distance of every point [N, D] to its k-th nearest neighbour in the set, itself
 * not counted.
 */
export async function neighbourRadii(
  points: Tensor,
  ks: readonly number[],
  { signal }: PairOptions = {},
): Promise<Float64Array[]> {
  const [count] = points.shape;
  const most = Math.max(...ks);
  const nearest = new Float64Array(count * most).fill(Infinity); // of each point, ascending
  const furthest = new Float64Array(count).fill(Infinity); // the last of them
  const insert = (point: number, distance: number): void => {
    if (distance >= furthest[point]) return;
    const first = point * most;
    let at = first + most - 1;
    for (; at > first && nearest[at - 1] > distance; at--) nearest[at] = nearest[at - 1];
    nearest[at] = distance;
    furthest[point] = nearest[first + most - 1];
  };
  const visit = (distances: BoundedDistances): void => {
    const { rows, columns, products, below, columnsBelow } = distances;
    const across = columnsBelow.length;
    for (let i = 0; i < below.length; i++) {
      const point = rows.begin + i;
      // Each pair once, for both of its points.
      for (let j = Math.max(0, point + 1 - columns.begin); j < across; j++) {
        const other = columns.begin + j;
        const least = below[i] + columnsBelow[j] - 2 * products[i * across + j];
        const limit = Math.max(furthest[point], furthest[other]);
        // Nothing is nearer than a copy.
        if (least > limit || limit === 0) continue;
        const distance = distances.exact(i, j);
        insert(point, distance);
        insert(other, distance);
      }
    }
  };
  const centre = await centreOf(points);
  try {
    await visitBounded(points, points, centre, visit, { signal, upperHalf: true });
  } finally {
    centre.dispose();
  }
  return ks.map((k) => Float64Array.from({ length: count }, (_, i) => nearest[i * most + k - 1]));
}
