// Products and distances between all vectors of two sets, block by block: memory for one block, whatever N is.
import { matmul } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { blocksOf, readBlock, scanFeatures, type Block } from './features.js';

/** How long work over all pairs is ended early. */
export interface PairOptions {
  /** Stops before the next block; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

interface VisitOptions extends PairOptions {
  /** Of a set with itself: leaves blocks out that mirror another. Default false. */
  upperHalf?: boolean;
}

/** Vectors whose squared lengths are known. */
export interface Points {
  /** [N, D] */
  readonly vectors: Tensor;
  readonly squares: Float64Array;
}

/**
 * Called for each block; element (i, j) of `values`, counted from 0, belongs to row `rows.begin + i` of the
 * first set and row `columns.begin + j` of the second.
 */
export type PairVisitor = (values: Float64Array, rows: Block, columns: Block) => void;

/**
 * Squared distances that rounding may have left of equal vectors, relative to their squared lengths; they
 * count as 0. Sums of D products in float64 err by less than D 2⁻⁵³.
 */
const roundingOfEqual = 2 ** -40;

/** @throws ArgumentError that names the first element that is not finite */
export async function pointsOf(metric: string, name: string, vectors: Tensor): Promise<Points> {
  const squares = new Float64Array(vectors.shape[0]);
  await scanFeatures(metric, name, vectors, (row, i) => {
    squares[i] = row.reduce((sum, value) => sum + value * value, 0);
  });
  return { vectors, squares };
}

/** Inner products of all rows of x with all of y. */
export async function visitProducts(
  x: Tensor,
  y: Tensor,
  visit: PairVisitor,
  { signal, upperHalf = false }: VisitOptions = {},
): Promise<void> {
  const blocks = (set: Tensor) => blocksOf(set.shape[0], set.shape[1]);
  const compute = async (left: Tensor, columns: Block): Promise<Float64Array> =>
    tidy(async () => {
      const values = matmul(left, readBlock(y, columns), { transposeB: true });
      return (await values.data()) as Float64Array;
    });
  for (const rows of blocks(x)) {
    const left = readBlock(x, rows);
    try {
      const wanted = blocks(y).filter(({ begin }) => !upperHalf || begin >= rows.begin);
      // The engine computes the next block while this one is looked at.
      let next = compute(left, wanted[0]);
      for (const [i, columns] of wanted.entries()) {
        const values = await next;
        signal?.throwIfAborted();
        if (i + 1 < wanted.length) next = compute(left, wanted[i + 1]);
        visit(values, rows, columns);
      }
    } finally {
      left.dispose();
    }
  }
}

/** Squared distances as {@link visitProducts}; those of equal vectors are exactly 0. */
export function visitDistances(
  x: Points,
  y: Points,
  visit: PairVisitor,
  options?: VisitOptions,
): Promise<void> {
  const toDistances: PairVisitor = (values, rows, columns) => {
    const count = columns.end - columns.begin;
    for (let i = rows.begin, at = 0; i < rows.end; i++) {
      for (let j = 0; j < count; j++, at++) {
        const squares = x.squares[i] + y.squares[columns.begin + j];
        const distance = squares - 2 * values[at];
        values[at] = distance > squares * roundingOfEqual ? distance : 0;
      }
    }
    visit(values, rows, columns);
  };
  return visitProducts(x.vectors, y.vectors, toDistances, options);
}
