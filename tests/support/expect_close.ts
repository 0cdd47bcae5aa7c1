// The one assertion on numbers and the one table of tolerances.
import type { DType } from '../../lib/index.js';

/** exact: same bits wanted; elementwise, norm, matmul: rows of the table below, ever looser. */
export type Tolerance = 'exact' | 'elementwise' | 'norm' | 'matmul';

export interface Closeness {
  dtype: DType;
  tolerance?: Tolerance;
  /** Length of the longest sum behind an element. Default 1. */
  reduction?: number;
  /** Multiplies the tolerance: gradients pass through more roundings than values. Default 1. */
  slack?: number;
  shape?: readonly number[];
  what?: string;
}

/** Half the distance between 1 and the next number: one rounding's largest relative error. */
const roundoff: Partial<Record<DType, number>> = {
  float64: 2 ** -53,
  float32: 2 ** -24,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
};

/** From here on a value rounds to infinity. */
const overflow: Partial<Record<DType, number>> = {
  float32: 3.4028235677973366e38,
  float16: 65520,
  bfloat16: 3.3961775292304957e38,
};

/** Roundings allowed in the arithmetic, per kind of op. */
const roundings: Record<Tolerance, number> = { exact: 0, elementwise: 16, norm: 48, matmul: 24 };
/** Roundings to a 16-bit type allowed on top: the result's own and a few of intermediate tensors. */
const storageRoundings = 3;

/**
 * The share of an element's magnitude that it may be off. Rounding errors of a sum of n terms grow like
 * sqrt(n); arithmetic on 16-bit types is float32 and only its results are rounded to 16 bits.
 */
export function relativeTolerance({
  dtype,
  tolerance = 'elementwise',
  reduction = 1,
  slack = 1,
}: Closeness): number {
  const storage = roundoff[dtype];
  if (storage === undefined || tolerance === 'exact') return 0;
  const arithmetic = Math.min(storage, roundoff.float32!);
  const sums = roundings[tolerance] * Math.sqrt(reduction) * arithmetic;
  return slack * (sums + (storage > arithmetic ? storageRoundings * storage : 0));
}

/**
 * Throws unless every |actual - expected| <= tolerance (|expected| + rms(expected)). The second term is
 * there because cancellation leaves small results with the absolute error of large ones. NaN and
 * infinities must be in the same places.
 */
export function expectClose(
  actual: ArrayLike<number | bigint>,
  expected: ArrayLike<number | bigint>,
  options: Closeness,
): void {
  const what = options.what ?? 'values';
  if (actual.length !== expected.length)
    throw new Error(`${what}: ${actual.length} values, expected ${expected.length}`);

  const tolerance = relativeTolerance(options);
  const scale = rootMeanSquare(expected);
  let bad = 0;
  let worst = -1;
  let worstExcess = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = Number(actual[i]);
    const e = inRange(Number(expected[i]), options.dtype);
    if (Object.is(a, e) || a === e) continue;
    // A NaN or an infinity in one of the two is worse than any finite error.
    const error = Math.abs(a - e);
    const excess = Number.isFinite(error) ? error / (tolerance * (Math.abs(e) + scale)) : Infinity;
    if (excess <= 1) continue;
    bad++;
    if (worst < 0 || excess > worstExcess) [worst, worstExcess] = [i, excess];
  }
  if (bad === 0) return;

  const a = Number(actual[worst]);
  const e = inRange(Number(expected[worst]), options.dtype);
  const error = Math.abs(a - e);
  throw new Error(
    `${what}: ${bad} of ${expected.length} elements differ (${options.dtype}). ` +
      `Worst at ${place(worst, options.shape)}: got ${a}, expected ${e}, ` +
      `absolute error ${error.toExponential(3)}, relative ${(error / Math.abs(e)).toExponential(3)}, ` +
      `allowed ${(tolerance * (Math.abs(e) + scale)).toExponential(3)} ` +
      `(${tolerance.toExponential(2)} of |expected| + rms ${scale.toPrecision(4)}).`,
  );
}

function inRange(value: number, dtype: DType): number {
  return Math.abs(value) >= (overflow[dtype] ?? Infinity) ? Math.sign(value) * Infinity : value;
}

function rootMeanSquare(values: ArrayLike<number | bigint>): number {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    if (!Number.isFinite(value)) continue;
    sum += value * value;
    count++;
  }
  return count === 0 ? 0 : Math.sqrt(sum / count);
}

function place(flat: number, shape: readonly number[] = []): string {
  if (shape.length === 0) return `index ${flat}`;
  const index: number[] = [];
  for (let axis = shape.length - 1, rest = flat; axis >= 0; axis--) {
    index.unshift(rest % shape[axis]);
    rest = Math.floor(rest / shape[axis]);
  }
  return `[${index.join(', ')}]`;
}
