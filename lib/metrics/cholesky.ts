// The pivoted Cholesky factor of a covariance, which may be singular (Higham, 1990; LAPACK's dpstrf).
import { addScaled, product, stackRows, type Matrix } from './vectors.js';

/** Pivots between two products of matrices, which do most of the work. */
const panelRows = 64;

/**
 * F of S = FᵀF with as many rows as S has rank: the largest remaining diagonal element is eliminated first,
 * until rounding alone (n ε max Sᵢᵢ) is left. Of a matrix with negative eigenvalues a part is left out.
 */
export async function choleskyFactor(matrix: Matrix): Promise<Matrix> {
  const n = matrix.rows;
  const tolerance = n * Number.EPSILON * largestOf(diagonalOf(matrix.data, n)).value;
  const factor: Float64Array[] = [];
  let [rest, left] = [matrix.data, Array.from({ length: n }, (_, i) => i)];
  while (left.length > 0) {
    const { panel, eliminated } = eliminate(rest, left.length, tolerance);
    for (const row of panel) {
      const whole = new Float64Array(n);
      left.forEach((index, i) => (whole[index] = row[i]));
      factor.push(whole);
    }
    if (panel.length < Math.min(panelRows, left.length)) break;
    const kept = left.map((_, i) => i).filter((i) => !eliminated.has(i));
    rest = await withoutPanel(rest, left.length, kept, panel);
    left = kept.map((i) => left[i]);
  }
  return stackRows(factor, n);
}

// Rows of the factor for the next pivots; fewer than a panel where the rank ends.
function eliminate(rest: Float64Array, m: number, tolerance: number) {
  const panel: Float64Array[] = [];
  const eliminated = new Set<number>();
  let diagonal = diagonalOf(rest, m);
  while (panel.length < Math.min(panelRows, m)) {
    const { index: p, value } = largestOf(diagonal);
    if (!(value > tolerance)) break;
    const row = rest.slice(p * m, (p + 1) * m);
    for (const earlier of panel) addScaled(row, -earlier[p], earlier);
    const pivot = Math.sqrt(value);
    for (let i = 0; i < m; i++) row[i] /= pivot;
    for (const i of eliminated) row[i] = 0;
    row[p] = pivot;
    const remaining = diagonal.map((variance, i) => variance - row[i] ** 2);
    remaining[p] = 0;
    // A pivot that leaves negative variances of its own size is rounding, such as single precision's.
    if (remaining.some((variance) => variance < -value / 10)) break;
    diagonal = remaining;
    eliminated.add(p);
    panel.push(row);
  }
  return { panel, eliminated };
}

// The Schur complement: rows and columns that are kept, less what the panel explains of them.
async function withoutPanel(
  rest: Float64Array,
  m: number,
  kept: readonly number[],
  panel: readonly Float64Array[],
): Promise<Float64Array> {
  const rows = panel.map((row) => Float64Array.from(kept, (i) => row[i]));
  const stacked = stackRows(rows, kept.length);
  const { data } = await product(stacked, stacked, { transposeA: true });
  for (let i = 0, at = 0; i < kept.length; i++) {
    const row = kept[i] * m;
    for (let j = 0; j < kept.length; j++, at++) data[at] = rest[row + kept[j]] - data[at];
  }
  return data;
}

function diagonalOf(matrix: Float64Array, n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => matrix[i * n + i]);
}

function largestOf(values: Float64Array): { index: number; value: number } {
  let index = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[index]) index = i;
  return { index, value: values[index] };
}
