// The Fréchet distance between two normal distributions, of features "FID" (Heusel et al., 2017).
import { check, checkShape } from '../errors.js';
import { choleskyFactor } from './cholesky.js';
import { symmetricEigenvalues } from './eigenvalues.js';
import { dot, product, type Matrix } from './vectors.js';

/** Mean and covariance of features: what is left of a set for {@link frechetDistance}. */
export interface FeatureMoments {
  /** [D] */
  readonly mean: Float64Array;
  /** [D, D], symmetric, row-major */
  readonly covariance: Float64Array;
}

/** Relative difference of opposite elements that single precision explains. */
const symmetryTolerance = 1e-5;

/** Share of the variance that a factor may leave out: rounding of single precision over thousands of dimensions. */
const varianceTolerance = 1e-2;

/**
 * |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½ in float64.
 *
 * With Σ₁ = F₁ᵀF₁ and Σ₂ = F₂ᵀF₂ the last trace is the sum of the singular values of F₁F₂ᵀ. Factors of
 * singular covariances are as short as their rank, so that nothing must be added to a diagonal and no
 * root becomes complex. Rounding never makes the distance negative: 0 is the least. 2048 dimensions take
 * seconds. With as few samples as dimensions the distance is defined, but far too large: see the `warning`
 * of FeatureStatistics.
 *
 * @throws ShapeError when the widths differ; ArgumentError when a covariance is not finite, not symmetric
 *   or has a negative variance in some direction
 */
export async function frechetDistance(a: FeatureMoments, b: FeatureMoments): Promise<number> {
  const [S1, S2] = [covarianceOf('the first', a), covarianceOf('the second', b)];
  checkShape(S1.rows === S2.rows, () => {
    return `frechetDistance: features must have one width. Got ${S1.rows} and ${S2.rows}`;
  });
  const means = a.mean.reduce((sum, value, i) => sum + (value - b.mean[i]) ** 2, 0);
  const distance = means + trace(S1) + trace(S2) - 2 * (await traceOfRoot(S1, S2));
  return Math.max(0, distance);
}

async function traceOfRoot(S1: Matrix, S2: Matrix): Promise<number> {
  const [F1, F2] = [await factorOf('the first', S1), await factorOf('the second', S2)];
  if (F1.rows === 0 || F2.rows === 0) return 0;
  const [short, long] = F1.rows <= F2.rows ? [F1, F2] : [F2, F1];
  const M = await product(short, long, { transposeB: true });
  const squares = await symmetricEigenvalues(await product(M, M, { transposeB: true }));
  return squares.reduce((sum, square) => sum + Math.sqrt(Math.max(0, square)), 0);
}

async function factorOf(which: string, S: Matrix): Promise<Matrix> {
  const F = await choleskyFactor(S);
  const [expected, explained] = [trace(S), dot(F.data, F.data)];
  check(Math.abs(expected - explained) <= varianceTolerance * expected, () => {
    return `frechetDistance: ${which} covariance has negative eigenvalues: it belongs to no distribution.`;
  });
  return F;
}

function trace({ rows: n, data }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += data[i * n + i];
  return sum;
}

function covarianceOf(which: string, { mean, covariance }: FeatureMoments): Matrix {
  const n = mean.length;
  checkShape(n > 0 && covariance.length === n * n, () => {
    return `frechetDistance: ${which} mean has ${n} elements, its covariance ${covariance.length}; expected D and D · D`;
  });
  const finite = mean.every(Number.isFinite) && covariance.every(Number.isFinite);
  check(finite, () => `frechetDistance: ${which} moments hold NaN or Infinity.`);
  for (let i = 0; i < n; i++) {
    const variance = covariance[i * n + i];
    check(variance >= 0, () => {
      return `frechetDistance: ${which} covariance has the variance ${variance} in dimension ${i}.`;
    });
  }
  const largest = covariance.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [covariance[i * n + j], covariance[j * n + i]];
      check(Math.abs(below - above) <= symmetryTolerance * largest, () => {
        return `frechetDistance: ${which} covariance is not symmetric: ${below} and ${above} at ${i}, ${j}.`;
      });
    }
  }
  return { rows: n, columns: n, data: covariance };
}
