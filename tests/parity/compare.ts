// How close is close enough: the golden folder's table, as relative L2 errors for float32.
import { isFloating } from '../../lib/index.js';
import type { GoldenCase, Values } from './golden.js';

/** What kind of computation a case is: it chooses the row of the table. */
export type Accuracy = 'elementwise' | 'matmul' | 'module' | 'sampler' | 'training' | 'table';

const outputLimit: Record<Accuracy, number> = {
  elementwise: 1e-6,
  matmul: 2e-6,
  module: 1e-5,
  sampler: 1e-4,
  training: 1e-5,
  // float64 formulas rounded to float32
  table: 1e-7,
};

const gradientLimit: Record<Accuracy, number> = {
  elementwise: 5e-6,
  matmul: 5e-6,
  module: 3e-5,
  sampler: 1e-4,
  training: 1e-4,
  table: 1e-7,
};

/** Statistics after training. */
const trainedLimit = 1e-4;

/** The four numbers that stand for a large gradient or a trained parameter. */
export interface Statistics {
  norm: number;
  sum: number;
  max: number;
  ramp: number;
}

export interface Failure {
  tensor: string;
  text: string;
}

/** A computed tensor, in PyTorch's layout. */
export type Computed = Pick<Values, 'shape'> & { data: ArrayLike<number> };

export function l2(data: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] * data[i];
  return Math.sqrt(sum);
}

export function statistics(data: ArrayLike<number>): Statistics {
  let [squares, sum, max, ramp] = [0, 0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    squares += value * value;
    sum += value;
    max = Math.max(max, Math.abs(value));
    ramp += value * (((7919 * i) % 1009) / 1009 - 0.5);
  }
  return { norm: Math.sqrt(squares), sum, max, ramp };
}

/** The limit of one output or gradient: the table's, or ten times what PyTorch's float32 run was off. */
export function limitOf(golden: GoldenCase, name: string, accuracy: Accuracy): number {
  const gradient = name.startsWith('grad');
  const trained = /^(param|ema)stat\.|_after$/.test(name);
  const limit = trained ? trainedLimit : (gradient ? gradientLimit : outputLimit)[accuracy];
  return Math.max(limit, 10 * golden.measuredError(name));
}

/** Relative L2 error against a limit; integers exactly. Infinities and NaN must be in the same places. */
export function compareValues(
  name: string,
  actual: Computed,
  expected: Values,
  limit: number,
): Failure | null {
  if (actual.data.length !== expected.data.length || !sameExtents(actual.shape, expected.shape)) {
    return fail(
      name,
      `shape [${actual.shape.join(', ')}], expected [${expected.shape.join(', ')}]`,
    );
  }
  let [error, norm, different] = [0, 0, 0];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, e] = [actual.data[i], expected.data[i]];
    if (Object.is(a, e) || a === e) {
      if (Number.isFinite(e)) norm += e * e;
      continue;
    }
    different++;
    error += (a - e) ** 2;
    norm += e * e;
  }
  if (!isFloating(expected.dtype)) {
    return different ? fail(name, `${different} of ${expected.data.length} integers differ`) : null;
  }
  const relative = Math.sqrt(error / norm);
  if (error === 0 || relative <= limit) return null;
  return fail(name, `relative error ${show(relative)}, limit ${show(limit)}`);
}

/** A gradient that is zero in exact arithmetic: only rounding noise may be left of it. */
export function compareZero(name: string, actual: Computed, scale: number): Failure | null {
  const norm = l2(actual.data);
  const limit = 1e-5 * scale;
  return norm <= limit
    ? null
    : fail(name, `norm ${show(norm)} of a zero gradient, limit ${show(limit)}`);
}

/**
 * Statistics in place of a full tensor: norm, maximum and ramp product may be off by `relative` of the
 * norm, the sum by a tenth of that per root of the count. Where single elements are known to be off by
 * `element`, sum and ramp product may be off by that per root of the count.
 */
export function compareStatistics(
  name: string,
  actual: Statistics,
  expected: ArrayLike<number>,
  count: number,
  relative: number,
  element = 0,
): Failure | null {
  const [norm, sum, max, ramp] = [expected[0], expected[1], expected[2], expected[3]];
  const limit = relative * norm;
  const drift = element * Math.sqrt(count);
  const checks: [string, number, number][] = [
    ['norm', Math.abs(actual.norm - norm), limit],
    ['sum', Math.abs(actual.sum - sum), Math.max(limit, 0.1 * Math.sqrt(count) * limit, drift)],
    ['maximum', Math.abs(actual.max - max), limit],
    ['ramp product', Math.abs(actual.ramp - ramp), Math.max(limit, drift)],
  ];
  const wrong = checks.filter(([, error, allowed]) => !(error <= allowed));
  if (wrong.length === 0) return null;
  const text = wrong.map(
    ([what, error, allowed]) => `${what} off by ${show(error)}, limit ${show(allowed)}`,
  );
  return fail(name, `${text.join('; ')} (norm ${show(norm)})`);
}

// [B, C, 1, 1] and [B, C] hold the same numbers in the same order
function sameExtents(a: readonly number[], b: readonly number[]): boolean {
  const extents = (shape: readonly number[]) => shape.filter((extent) => extent !== 1).join();
  return extents(a) === extents(b);
}

function fail(tensor: string, text: string): Failure {
  return { tensor, text };
}

const show = (value: number): string => value.toExponential(2);
