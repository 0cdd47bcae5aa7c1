// Moments of features and the Fréchet distance against closed forms.
import { describe, expect, test } from 'vitest';
import {
  FeatureStatistics,
  FileError,
  frechetDistance,
  loadMoments,
  noise,
  saveMoments,
  ShapeError,
  tensor,
  writeNpz,
  type FeatureMoments,
  type Tensor,
} from '../../lib/index.js';
import { choleskyFactor } from '../../lib/metrics/cholesky.js';
import { symmetricEigenvalues } from '../../lib/metrics/eigenvalues.js';
import { product, type Matrix } from '../../lib/metrics/vectors.js';
import { temporaryFolder } from '../io/temporary.js';
import { availableDevices } from '../support/devices.js';

const inFolder = temporaryFolder();

const random = (shape: number[], seed: number): Tensor =>
  noise(shape, { seed, dtype: 'float64', device: 'cpu' });
const valuesOf = (x: Tensor) => x.dataSync() as Float64Array;

function diagonalMatrix(values: readonly number[]): Matrix {
  const n = values.length;
  const data = new Float64Array(n * n);
  values.forEach((value, i) => (data[i * n + i] = value));
  return { rows: n, columns: n, data };
}

// Q A Qᵀ for the reflection Q = I − 2 u uᵀ / |u|².
async function rotated(matrix: Matrix, seed: number): Promise<Matrix> {
  const n = matrix.rows;
  const u = valuesOf(random([n], seed));
  const length = u.reduce((sum, x) => sum + x * x, 0);
  const data = Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return (i === j ? 1 : 0) - (2 * u[i] * u[j]) / length;
  });
  const Q = { rows: n, columns: n, data };
  const result = await product(await product(Q, matrix), Q, { transposeB: true });
  for (let i = 0; i < n; i++)
    // exactly symmetric
    for (let j = 0; j < i; j++) result.data[i * n + j] = result.data[j * n + i];
  return result;
}

const gaussian = (covariance: Matrix, mean = new Float64Array(covariance.rows)) => {
  return { mean, covariance: covariance.data };
};
const shifted = (n: number, by: number) => new Float64Array(n).fill(by);
const spread = (n: number, of: (i: number) => number) => Array.from({ length: n }, (_, i) => of(i));

async function statisticsOf(...batches: Tensor[]): Promise<FeatureStatistics> {
  const statistics = new FeatureStatistics();
  for (const batch of batches) await statistics.update(batch);
  return statistics;
}

const expectNear = (actual: number, expected: number, relative: number) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(relative * Math.abs(expected));

describe('symmetricEigenvalues', () => {
  const sorted = async (matrix: Matrix) =>
    [...(await symmetricEigenvalues(matrix))].sort((a, b) => a - b);

  test.each([1, 2, 3, 31, 32, 33, 101])('second differences of %i points', async (n) => {
    const matrix = diagonalMatrix(spread(n, () => 2));
    for (let i = 0; i + 1 < n; i++) matrix.data[i * n + i + 1] = matrix.data[(i + 1) * n + i] = -1;
    const expected = spread(n, (i) => 2 - 2 * Math.cos(((i + 1) * Math.PI) / (n + 1)));
    (await sorted(matrix)).forEach((value, i) =>
      expect(Math.abs(value - expected[i])).toBeLessThan(1e-13),
    );
  });

  test.each([
    ['distinct', spread(90, (i) => i - 20)],
    ['repeated', spread(70, (i) => (i < 40 ? -3 : 5))],
    ['zero but one', spread(65, (i) => (i === 64 ? 7 : 0))],
    ['of all sizes', spread(80, (i) => 2 ** (i - 79))],
    ['huge', spread(40, (i) => 1e200 * (i + 1))],
    ['tiny', spread(40, (i) => 1e-200 * (i + 1))],
  ])('%s ones survive a rotation', async (_, values) => {
    const matrix = diagonalMatrix(values);
    const largest = Math.max(...values.map(Math.abs));
    const expected = [...values].sort((a, b) => a - b);
    for (const each of [matrix, await rotated(await rotated(matrix, 1), 2)])
      (await sorted(each)).forEach((value, i) =>
        expect(Math.abs(value - expected[i])).toBeLessThan(1e-13 * largest),
      );
  });

  test('of nothing but zeros', async () => {
    expect(await symmetricEigenvalues(diagonalMatrix([0, 0]))).toEqual(new Float64Array(2));
  });
});

describe('choleskyFactor', () => {
  test.each([
    [100, 100],
    [100, 64],
    [100, 65],
    [130, 3],
    [5, 0],
  ])('%i dimensions of rank %i', async (n, rank) => {
    const matrix = await rotated(diagonalMatrix(spread(n, (i) => (i < rank ? 1 + i : 0))), 3);
    const F = await choleskyFactor(matrix);
    expect([F.rows, F.columns]).toEqual([rank, n]);
    if (rank === 0) return;
    const { data } = await product(F, F, { transposeA: true });
    data.forEach((value, i) => expect(Math.abs(value - matrix.data[i])).toBeLessThan(1e-12 * n));
  });
});

describe('frechetDistance', () => {
  const a = spread(80, (i) => 0.1 + i);
  const b = spread(80, (i) => 3 + ((i * 37) % 80) / 10);
  const closed = a.reduce((sum, x, i) => sum + (Math.sqrt(x) - Math.sqrt(b[i])) ** 2, 0);

  test('of diagonal normal distributions', async () => {
    const mean = shifted(80, 0.5);
    const distance = await frechetDistance(
      gaussian(diagonalMatrix(a)),
      gaussian(diagonalMatrix(b), mean),
    );
    expectNear(distance, closed + 80 * 0.25, 1e-13);
  });

  test('does not change when both are turned, shifted or exchanged', async () => {
    const [A, B] = [await rotated(diagonalMatrix(a), 4), await rotated(diagonalMatrix(b), 4)];
    const [near, far] = [shifted(80, 1e3), shifted(80, 1e3 + 0.5)];
    expectNear(await frechetDistance(gaussian(A, near), gaussian(B, far)), closed + 20, 1e-12);
    expectNear(await frechetDistance(gaussian(B), gaussian(A)), closed, 1e-12);
  });

  test('from a round distribution, whatever the other is turned to', async () => {
    const round = gaussian(diagonalMatrix(spread(80, () => 4)));
    const other = gaussian(await rotated(await rotated(diagonalMatrix(a), 5), 6));
    const expected = a.reduce((sum, x) => sum + (2 - Math.sqrt(x)) ** 2, 0);
    expectNear(await frechetDistance(round, other), expected, 1e-12);
  });

  test('of equal ones is 0, though variances span twelve decades', async () => {
    const wide = gaussian(await rotated(diagonalMatrix(spread(100, (i) => 10 ** (-i / 8))), 7));
    expect(await frechetDistance(wide, wide)).toBeLessThan(1e-9);
    expect(await frechetDistance(wide, wide)).toBeGreaterThanOrEqual(0);
  });

  test('of fewer samples than dimensions', async () => {
    // Two samples have the covariance u uᵀ with u = (x − y) / √2: the root's trace is |u · v|.
    const [x, y] = [random([2, 30], 8), random([2, 30], 9)];
    const half = (pair: Tensor) =>
      valuesOf(pair.select(0, 0).sub(pair.select(0, 1)).div(Math.SQRT2));
    const inner = (p: Float64Array, q: Float64Array) =>
      p.reduce((sum, value, i) => sum + value * q[i], 0);
    const [u, v] = [half(x), half(y)];
    const means = valuesOf(x.mean(0).sub(y.mean(0)).square().sum())[0];
    const [a, b] = [(await statisticsOf(x)).moments(), (await statisticsOf(y)).moments()];
    const expected = means + inner(u, u) + inner(v, v) - 2 * Math.abs(inner(u, v));
    expectNear(await frechetDistance(a, b), expected, 1e-12);
    expect(await frechetDistance(a, a)).toBeLessThan(1e-12);
  });

  test('of covariances without a common direction, and of none at all', async () => {
    const low = gaussian(diagonalMatrix(spread(20, (i) => (i < 10 ? 2 : 0))));
    const high = gaussian(diagonalMatrix(spread(20, (i) => (i < 10 ? 0 : 3))));
    expect(await frechetDistance(low, high)).toBeCloseTo(50, 12);
    const point = gaussian(diagonalMatrix(spread(20, () => 0)), shifted(20, 1));
    expect(await frechetDistance(low, point)).toBeCloseTo(40, 12);
  });

  test('single precision, as some files hold it, costs digits and no more', async () => {
    const [x, y] = [random([40, 90], 11), random([300, 90], 12).mul(1.5)];
    const [a, b] = [(await statisticsOf(x)).moments(), (await statisticsOf(y)).moments()];
    const rounded = ({ mean, covariance }: FeatureMoments) => ({
      mean,
      covariance: covariance.map(Math.fround),
    });
    const expected = await frechetDistance(a, b);
    expectNear(await frechetDistance(rounded(a), rounded(b)), expected, 1e-6);
    expect(await frechetDistance(rounded(a), rounded(a))).toBeLessThan(1e-6 * expected);
  });

  test('moments that are none are refused', async () => {
    const good = gaussian(diagonalMatrix([1, 2]));
    const bad = (covariance: number[]): FeatureMoments => ({
      mean: good.mean,
      covariance: Float64Array.from(covariance),
    });
    await expect(frechetDistance(good, gaussian(diagonalMatrix([1])))).rejects.toThrow(ShapeError);
    await expect(frechetDistance(good, bad([1, 2]))).rejects.toThrow(
      /covariance 2; expected D · D|covariance 2/,
    );
    await expect(frechetDistance(bad([1, NaN, NaN, 1]), good)).rejects.toThrow(
      /first moments hold NaN/,
    );
    await expect(frechetDistance(good, bad([1, 0, 0, -1]))).rejects.toThrow(
      /second.*variance -1 in dimension 1/,
    );
    await expect(frechetDistance(good, bad([1, 0.5, 0, 1]))).rejects.toThrow(/not symmetric/);
    await expect(frechetDistance(good, bad([1, 2, 2, 1]))).rejects.toThrow(
      /second.*negative eigenvalues/,
    );
  });
});

describe('FeatureStatistics', () => {
  const features = random([300, 20], 10).mul(3).add(1000);

  // Straight from the definition.
  function naive(x: Tensor): FeatureMoments {
    const centred = x.sub(x.mean(0));
    const scatter = centred.transpose().reshape([20, 1, 300]).mul(centred.transpose()).sum(2);
    return { mean: valuesOf(x.mean(0)), covariance: valuesOf(scatter.div(299)) };
  }
  const expectSame = (actual: FeatureMoments, expected: FeatureMoments) => {
    actual.mean.forEach((value, i) =>
      expect(Math.abs(value - expected.mean[i])).toBeLessThan(1e-11),
    );
    actual.covariance.forEach((value, i) =>
      expect(Math.abs(value - expected.covariance[i])).toBeLessThan(1e-12),
    );
  };

  test('are mean and unbiased covariance, far from 0 too', async () => {
    const statistics = await statisticsOf(features);
    expect([statistics.count, statistics.width, statistics.warning]).toEqual([300, 20, undefined]);
    expectSame(statistics.moments(), naive(features));
  });

  test('batches of any size and order, and merged parts, differ by rounding only', async () => {
    const expected = (await statisticsOf(features)).moments();
    for (const size of [1, 7, 128]) {
      const batches = Array.from({ length: Math.ceil(300 / size) }, (_, i) => {
        return features.narrow(0, i * size, Math.min(size, 300 - i * size));
      });
      expectSame((await statisticsOf(...batches)).moments(), expected);
      expectSame((await statisticsOf(...batches.reverse())).moments(), expected);
      const [left, right] = [
        await statisticsOf(...batches.slice(1)),
        await statisticsOf(batches[0]),
      ];
      left.merge(new FeatureStatistics());
      left.merge(right);
      expectSame(left.moments(), expected);
      expect(right.count).toBe(batches[0].shape[0]);
    }
  });

  test('updates that are not waited for one by one all count', async () => {
    const statistics = new FeatureStatistics();
    await Promise.all(features.chunk(6, 0).map((batch) => statistics.update(batch)));
    expectSame(statistics.moments(), (await statisticsOf(features)).moments());
  });

  test.each(availableDevices.map((device) => [device.name, device] as const))(
    'features of single precision on %s give the same bits',
    async (_, device) => {
      const single = features.to('float32');
      const expected = (await statisticsOf(single)).moments();
      expect((await statisticsOf(single.to(device))).moments()).toEqual(expected);
      const bytes = tensor(Uint8Array.of(0, 255, 255, 0), { shape: [2, 2], device });
      expect((await statisticsOf(bytes)).moments().mean).toEqual(Float64Array.of(127.5, 127.5));
    },
  );

  test('too few samples are an error or a warning', async () => {
    const one = await statisticsOf(features.narrow(0, 0, 1));
    expect(() => one.moments()).toThrow(/at least 2 samples, got 1/);
    expect((await statisticsOf(features.narrow(0, 0, 20))).warning).toMatch(/20 samples of 20/);
    expect((await statisticsOf(features.narrow(0, 0, 21))).warning).toBeUndefined();
  });

  test('a batch that is refused leaves nothing behind', async () => {
    const statistics = await statisticsOf(features);
    const before = statistics.moments();
    const bad = features.to('float64').reshape([-1]);
    const values = valuesOf(bad).slice();
    values[57 * 20 + 4] = NaN;
    const update = (x: Tensor) => statistics.update(x);
    await expect(update(tensor(values, { shape: [300, 20] }))).rejects.toThrow(
      /NaN in row 57, column 4/,
    );
    await expect(update(random([4, 21], 1))).rejects.toThrow(/width 20 as before, got 21/);
    await expect(update(bad)).rejects.toThrow(/must be \[N, D\].*\[6000\]/);
    expect(statistics.moments()).toEqual(before);
    await statistics.update(random([0, 20], 1));
    expect(statistics.moments()).toEqual(before);
  });

  test('are saved and loaded to the bit', async () => {
    const moments = (await statisticsOf(features)).moments();
    await saveMoments(inFolder('a.npz'), moments);
    expect(await loadMoments(inFolder('a.npz'))).toEqual(moments);
  });

  test('files that hold other arrays are refused', async () => {
    const floats = (...shape: number[]) =>
      ({
        shape,
        dtype: 'float32',
        data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
      }) as const;
    const load = async (arrays: Parameters<typeof writeNpz>[1]) => {
      await writeNpz(inFolder('b.npz'), arrays);
      return loadMoments(inFolder('b.npz'));
    };
    const mu = ['mu', floats(2)] as const;
    expect((await load([mu, ['sigma', floats(2, 2)]])).covariance).toEqual(new Float64Array(4));
    await expect(load([['arr_0', floats(2)]])).rejects.toThrow(/mu is missing: it has arr_0/);
    await expect(load([mu, ['sigma', floats(2, 3)]])).rejects.toThrow(/\[2\] and \[2, 3\]/);
    const whole = { shape: [4], dtype: 'int32', data: new Int32Array(4) } as const;
    await expect(load([mu, ['sigma', whole]])).rejects.toThrow(FileError);
    await expect(
      load([
        ['mu', floats()],
        ['sigma', floats()],
      ]),
    ).rejects.toThrow(FileError);
  });
});
