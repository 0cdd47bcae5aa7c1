// Gaussian noise on pictures: on each value, the same on all channels, or correlated between them.
import { philox, streams } from '../philox.js';
import type { FloatImage } from './floats.js';

/** A symmetric 3 x 3 matrix, row by row. */
export type Covariance = readonly number[];

/** What noise is added. Its numbers are a function of `seed` and of the place in the picture. */
export type Noise =
  /** deviation of every value; 1 is white less black */
  | { readonly form: 'colour'; readonly deviation: number; readonly seed: number }
  /** one value for each pixel, the same on all channels */
  | { readonly form: 'grey'; readonly deviation: number; readonly seed: number }
  /** three correlated values for each pixel; pictures of one channel take the first */
  | { readonly form: 'correlated'; readonly covariance: Covariance; readonly seed: number };

/** The picture with noise, not clipped. */
export function addNoise(image: FloatImage, noise: Noise): FloatImage {
  const { width, height, channels } = image;
  const pixels = width * height;
  const data = Float32Array.from(image.data);
  if (noise.form === 'correlated') {
    const [a, b, c, d, e, f] = cholesky(noise.covariance);
    const drawn = normals(3 * pixels, noise.seed);
    for (let i = 0; i < pixels; ++i) {
      const [x, y, z] = [drawn[3 * i], drawn[3 * i + 1], drawn[3 * i + 2]];
      const values = [a * x, b * x + c * y, d * x + e * y + f * z];
      for (let k = 0; k < channels; ++k) data[i * channels + k] += values[k];
    }
    return { ...image, data };
  }
  const { form, deviation, seed } = noise;
  const drawn = normals(form === 'grey' ? pixels : pixels * channels, seed);
  for (let i = 0; i < data.length; ++i)
    data[i] += deviation * drawn[form === 'grey' ? Math.floor(i / channels) : i];
  return { ...image, data };
}

/**
 * The covariance |level² Uᵀ D U|, elementwise absolute: U has the left singular vectors of the 3 x 3 matrix `basis` as
 * its columns, D three variances.
 */
export function channelCovariance(
  level: number,
  variances: readonly number[],
  basis: readonly number[],
): Covariance {
  const product = (i: number, j: number) =>
    [0, 1, 2].reduce((sum, k) => sum + basis[3 * i + k] * basis[3 * j + k], 0);
  const vectors = eigenvectors([0, 1, 2].map((i) => [0, 1, 2].map((j) => product(i, j))));
  return [0, 1, 2].flatMap((i) =>
    [0, 1, 2].map((j) => {
      const sum = [0, 1, 2].reduce(
        (all, k) => all + variances[k] * vectors[k][i] * vectors[k][j],
        0,
      );
      return Math.abs(level ** 2 * sum);
    }),
  );
}

const planes = [
  [0, 1],
  [0, 2],
  [1, 2],
] as const;

// Columns by falling eigenvalue (Jacobi's rotations). Their signs are open; absolute values do not show them.
function eigenvectors(symmetric: readonly (readonly number[])[]): number[][] {
  const a = symmetric.map((row) => [...row]);
  const v: number[][] = [0, 1, 2].map((i) => [0, 1, 2].map((j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 16; ++sweep)
    for (const [p, q] of planes) {
      if (a[p][q] === 0) continue;
      const angle = 0.5 * Math.atan2(2 * a[p][q], a[p][p] - a[q][q]);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const rotate = (x: number, y: number) => [cos * x + sin * y, cos * y - sin * x];
      for (let k = 0; k < 3; ++k) [a[k][p], a[k][q]] = rotate(a[k][p], a[k][q]);
      for (let k = 0; k < 3; ++k) [a[p][k], a[q][k]] = rotate(a[p][k], a[q][k]);
      for (let k = 0; k < 3; ++k) [v[k][p], v[k][q]] = rotate(v[k][p], v[k][q]);
    }
  const order = [0, 1, 2].sort((i, j) => a[j][j] - a[i][i]);
  return v.map((row) => order.map((column) => row[column]));
}

// The lower triangle L with L Lᵀ the matrix. Up to 3 x 3 the elementwise absolute of a covariance is one as well, so
// this is also what multivariate_normal of the original amounts to; a root below zero is rounding.
function cholesky([xx, , , yx, yy, , zx, zy, zz]: Covariance): readonly number[] {
  const root = (square: number) => Math.sqrt(Math.max(0, square));
  const over = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);
  const a = root(xx);
  const [b, d] = [over(yx, a), over(zx, a)];
  const c = root(yy - b * b);
  const e = over(zy - d * b, c);
  return [a, b, c, d, e, root(zz - d * d - e * e)];
}

/** Standard normal numbers (Box and Muller) by their place. */
function normals(count: number, seed: number): Float64Array {
  const drawn = new Float64Array(count + 3);
  for (let i = 0; i < count; i += 4) {
    const words = philox(seed, streams.degradationNoise, 0, 0, i / 4);
    for (let k = 0; k < 4; k += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[k] + 1) / 2 ** 32));
      const angle = 2 * Math.PI * (words[k + 1] / 2 ** 32);
      drawn[i + k] = radius * Math.cos(angle);
      drawn[i + k + 1] = radius * Math.sin(angle);
    }
  }
  return drawn.subarray(0, count);
}
