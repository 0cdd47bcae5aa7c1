// Metrics that rest on distances between all pairs: against a plain double loop, and what must not change them.
import { describe, expect, test } from 'vitest';
import {
  concat,
  densityCoverage,
  Generator,
  indexSelect,
  nearestNeighbours,
  neighbourScores,
  noise,
  precisionRecall,
  ShapeError,
  tensor,
  tidy,
  type Tensor,
} from '../../lib/index.js';
import { neighbourRadii } from '../../lib/metrics/bounded_distances.js';
import { visitProducts } from '../../lib/metrics/distances.js';
import { blocksOf } from '../../lib/metrics/features.js';
import { availableDevices } from '../support/devices.js';

const random = (shape: number[], seed: number): Tensor => noise(shape, { seed, device: 'cpu' });
const shuffled = (x: Tensor, seed: number): Tensor =>
  indexSelect(x, 0, new Generator(seed).permutation(x.shape[0], { device: x.device }));

// More rows than a block has, so that pairs lie in different blocks before and after a shuffle.
const width = 9;
const real = random([1100, width], 1);
const fake = random([1300, width], 2).mul(0.9).add(0.3);

function rowsOf(x: Tensor): Float64Array[] {
  const data = Float64Array.from(x.dataSync() as Float32Array | Float64Array);
  const length = x.numel / x.shape[0];
  return Array.from({ length: x.shape[0] }, (_, i) => data.subarray(i * length, (i + 1) * length));
}

function squaredDistance(x: Float64Array, y: Float64Array): number {
  return x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0);
}

function plainRadii(rows: readonly Float64Array[], k: number): number[] {
  return rows.map((x) => {
    const distances = Float64Array.from(rows, (y) => squaredDistance(x, y)).sort();
    return distances[k]; // the first is the point's own
  });
}

function plainScores(k: number, x = real, y = fake) {
  const [R, F] = [rowsOf(x), rowsOf(y)];
  const [realRadii, fakeRadii] = [plainRadii(R, k), plainRadii(F, k)];
  const realistic = new Set<number>();
  const [recalled, covered] = [new Set<number>(), new Set<number>()];
  let inside = 0;
  R.forEach((x, i) =>
    F.forEach((y, j) => {
      const distance = squaredDistance(x, y);
      if (distance <= fakeRadii[j]) recalled.add(i);
      if (distance > realRadii[i]) return;
      realistic.add(j);
      covered.add(i);
      inside++;
    }),
  );
  return {
    precision: realistic.size / F.length,
    recall: recalled.size / R.length,
    density: inside / (k * F.length),
    coverage: covered.size / R.length,
  };
}

const scoresOf = async (x: Tensor, y: Tensor, k: number) => {
  return { ...(await precisionRecall(x, y, { k })), ...(await densityCoverage(x, y, { k })) };
};

describe('precision, recall, density and coverage', () => {
  test('are those of a double loop', async () => {
    expect(await scoresOf(real, fake, 3)).toEqual(plainScores(3));
  });

  test('k is 3 for precision and recall, 5 for density and coverage', async () => {
    const [x, y] = [real.narrow(0, 0, 200), fake.narrow(0, 0, 200)];
    expect(await precisionRecall(x, y)).toEqual(await precisionRecall(x, y, { k: 3 }));
    expect(await precisionRecall(x, y)).not.toEqual(await precisionRecall(x, y, { k: 5 }));
    expect(await densityCoverage(x, y)).toEqual(await densityCoverage(x, y, { k: 5 }));
    expect(await densityCoverage(x, y)).not.toEqual(await densityCoverage(x, y, { k: 3 }));
  });

  test('together they are what each is alone', async () => {
    expect(await neighbourScores(real, fake)).toEqual({
      ...(await precisionRecall(real, fake)),
      ...(await densityCoverage(real, fake)),
    });
  });

  test('the order of the samples changes nothing', async () => {
    const expected = await scoresOf(real, fake, 4);
    expect(await scoresOf(shuffled(real, 3), shuffled(fake, 4), 4)).toEqual(expected);
  });

  test.each(availableDevices.map((device) => [device.name, device] as const))(
    'features on %s give the same numbers',
    async (_, device) => {
      const [x, y] = [real.narrow(0, 0, 100), fake.narrow(0, 0, 90)];
      expect(await scoresOf(x.to(device), y.to(device), 2)).toEqual(await scoresOf(x, y, 2));
    },
  );

  test('a set against itself, and against one far away', async () => {
    const perfect = { precision: 1, recall: 1, coverage: 1 };
    expect(await scoresOf(real, real, 3)).toMatchObject(perfect);
    expect(await scoresOf(real, real.add(0), 3)).toMatchObject(perfect);
    const nothing = { precision: 0, recall: 0, density: 0, coverage: 0 };
    expect(await scoresOf(real, fake.add(100), 3)).toEqual(nothing);
  });

  test('copies lie in balls without extent, far from 0 as well', async () => {
    // Four copies each of 30 points: with k = 3 every radius is 0, which rounding must not blur.
    const points = random([30, 700], 5).to('float64').mul(0.3).add(40.1);
    const copies = concat([points, points, points, points]);
    expect(await neighbourRadii(copies, [3])).toEqual([new Float64Array(120)]);
    const scores = { precision: 1, recall: 1, coverage: 1 };
    expect(await scoresOf(copies, shuffled(copies, 6), 3)).toMatchObject(scores);
  });

  test('what float32 cannot tell apart or hold is decided all the same', async () => {
    // Far from their centre, distances of 1e-3 drown in the rounding of products; then they overflow.
    const points = real.narrow(0, 0, 60).to('float64');
    const near = concat([points.mul(1e-5).add(7), points]);
    for (const [scale, shift] of [
      [1, 0],
      [1e30, 0],
      [1e-25, 0],
      [1, 1e4],
    ]) {
      const x = near.mul(scale).add(shift);
      const rows = Array.from({ length: 120 }, (_, i) => {
        return Float64Array.from(x.narrow(0, i, 1).dataSync() as Float64Array);
      });
      const [radii] = await neighbourRadii(x, [3]);
      expect([...radii]).toEqual(plainRadii(rows, 3));
    }
  });

  // Each as rows of 40 numbers, most of them trouble: the scores must be those of distances in float64.
  const normal = random([90, 40], 11).to('float64');
  const alternating = tensor(
    Float64Array.from({ length: 40 }, (_, i) => (-1) ** i),
    { shape: [1, 40] },
  );
  const only = (column: number, scale: number) =>
    tensor(
      Float64Array.from({ length: 40 }, (_, i) => (i === column ? scale : 0)),
      { shape: [1, 40] },
    );
  test.each<[string, Tensor]>([
    ['a mean a hundred million times the deviation', normal.add(1e8)],
    ['one dimension a million times the others', normal.add(normal.mul(only(3, 1e6)))],
    ['constant dimensions', normal.mul(only(7, 1)).add(5)],
    ['denormals beside ordinary numbers', normal.mul(1e-42).add(normal.mul(only(0, 1)))],
    ['denormals alone', normal.mul(1e-42)],
    ['products that cancel', normal.mul(1e-3).add(alternating.mul(1e4))],
    ['two clusters far apart', concat([normal, normal.add(1e6)])],
    ['duplicates', concat([normal, normal.narrow(0, 0, 45), normal.narrow(0, 0, 20)])],
    ['a grid, where distances are equal', normal.mul(2).to('int32').to('float64')],
    ['one outlier at the end of float32', concat([normal, only(1, 3e38)])],
  ])('%s', async (_, points) => {
    for (const x of [points, points.to('float32')]) {
      const y = x.add(
        x
          .narrow(0, 1, 1)
          .sub(x.narrow(0, 0, 1))
          .mul(0.25),
      );
      expect(await scoresOf(x, y, 3)).toEqual(plainScores(3, x, y));
    }
  });

  test('too few samples, NaN and other mistakes are named', async () => {
    const three = real.narrow(0, 0, 3);
    await expect(precisionRecall(three, fake)).rejects.toThrow(/real has 3 samples.*at least 4/);
    await expect(densityCoverage(real, three)).rejects.toThrow(/generated has 3.*at least 6/);
    const bad = tensor(Float32Array.of(0, 1, 2, NaN, 4, 5, 6, 7), { shape: [4, 2] });
    await expect(precisionRecall(bad, bad)).rejects.toThrow(/real holds NaN in row 1, column 1/);
    const endless = tensor([[0], [1], [2], [Infinity]]);
    await expect(precisionRecall(tensor([[0], [1], [2], [3]]), endless)).rejects.toThrow(
      /generated holds Infinity in row 3/,
    );
    await expect(precisionRecall(real, random([9, 8], 1))).rejects.toThrow(
      /real of 9 and generated of 8/,
    );
    await expect(precisionRecall(real, fake, { k: 0 })).rejects.toThrow(/k must be a positive/);
    await expect(precisionRecall(real.to('int32'), fake)).rejects.toThrow(/floating or uint8/);
  });

  test('a signal ends the work', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(precisionRecall(real, fake, { signal })).rejects.toThrow('enough');
  });
});

describe('nearestNeighbours', () => {
  const training = random([1500, 4, 4, 3], 7);
  const rows = rowsOf(training);

  test('are those of a double loop', async () => {
    const samples = random([20, 4, 4, 3], 8);
    const { index, distance } = await nearestNeighbours(samples, training);
    rowsOf(samples).forEach((x, i) => {
      const distances = rows.map((y) => Math.sqrt(squaredDistance(x, y)));
      const nearest = Math.min(...distances);
      expect(index[i]).toBe(distances.indexOf(nearest));
      expect(Math.abs(distance[i] - nearest)).toBeLessThan(1e-12);
    });
  });

  test('copies are found at a distance of exactly 0, the first of several', async () => {
    const twice = concat([training, training]);
    const samples = indexSelect(training, 0, tensor([1499, 3, 1024], { dtype: 'int64' }));
    const { index, distance } = await nearestNeighbours(samples, twice);
    expect(index).toEqual([1499, 3, 1024]);
    expect(distance).toEqual(new Float64Array(3));
  });

  test('training data in batches of any size give the same, and are disposed', async () => {
    const samples = random([1030, 4, 4, 3], 9);
    const expected = await nearestNeighbours(samples, training);
    const given: Tensor[] = [];
    async function* batches(size: number): AsyncIterable<Tensor> {
      for (let at = 0; at < 1500; at += size) {
        const batch = await Promise.resolve(training.narrow(0, at, Math.min(size, 1500 - at)));
        given.push(batch);
        yield batch;
      }
    }
    for (const size of [1500, 333])
      expect(await nearestNeighbours(samples, batches(size))).toEqual(expected);
    expect(given.map((batch) => batch.disposed)).toEqual(Array(6).fill(true));
  });

  test('takes 8-bit pictures', async () => {
    const bytes = (...values: number[]) =>
      tensor(Uint8Array.from(values), { shape: [values.length / 2, 1, 2, 1] });
    const { index, distance } = await nearestNeighbours(
      bytes(250, 3),
      bytes(0, 3, 255, 3, 250, 250),
    );
    expect([index[0], distance[0]]).toEqual([1, 5]);
  });

  test('other shapes and nothing at all are refused', async () => {
    const samples = random([2, 4, 4, 3], 1);
    const other = random([2, 4, 4, 1], 1);
    await expect(nearestNeighbours(samples, other)).rejects.toThrow(
      /shape \[4, 4, 3\].*\[2, 4, 4, 1\]/,
    );
    await expect(nearestNeighbours(samples, noBatches())).rejects.toThrow(ShapeError);
    await expect(nearestNeighbours(random([0, 3], 1), random([1, 3], 1))).rejects.toThrow(
      /samples has 0/,
    );
  });

  async function* noBatches(): AsyncIterable<Tensor> {
    await Promise.resolve();
    yield* [];
  }
});

describe('blocks', () => {
  test('cover every row once, and stay small where rows are long', () => {
    expect(blocksOf(2050, 3)).toEqual([
      { begin: 0, end: 1024 },
      { begin: 1024, end: 2048 },
      { begin: 2048, end: 2050 },
    ]);
    const pictures = blocksOf(50_000, 256 * 256 * 3);
    const bytes = Math.max(...pictures.map(({ begin, end }) => end - begin)) * 256 * 256 * 3 * 8;
    expect(bytes).toBeLessThanOrEqual(64 * 1024 * 1024);
    expect(blocksOf(2, 10 ** 9)).toHaveLength(2);
  });

  test('a half of the pairs of a set is enough for all of them', async () => {
    let pairs = 0;
    const visit = (values: Float64Array, rows: { begin: number }, columns: { begin: number }) =>
      void (pairs += values.length * (rows.begin === columns.begin ? 1 : 2));
    await tidy(() => visitProducts(fake, fake, visit, { upperHalf: true }));
    expect(pairs).toBe(1300 ** 2);
  });
});
