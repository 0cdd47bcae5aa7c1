import { describe, expect, test } from 'vitest';
import {
  Generator,
  indexSelect,
  kernelDistance,
  noise,
  polynomialMmd,
  tensor,
  type Tensor,
} from '../../lib/index.js';
import { availableDevices } from '../support/devices.js';

const random = (shape: number[], seed: number): Tensor => noise(shape, { seed, device: 'cpu' });
const real = random([400, 6], 1);
const fake = random([300, 6], 2).mul(1.2).add(0.2);

describe('polynomialMmd', () => {
  test('of a few numbers', async () => {
    // k(a, b) = (ab + 1)³ in one dimension: within x k(0, 1) = 1, within y k(2, 3) = 343,
    // across 1, 1, 27 and 64.
    const [x, y] = [tensor([[0], [1]]), tensor([[2], [3]])];
    expect(await polynomialMmd(x, y)).toBe(1 + 343 - (2 * (1 + 1 + 27 + 64)) / 4);
  });

  test('does not depend on the blocks or the order but for rounding', async () => {
    const [x, y] = [random([1500, 5], 3), random([1200, 5], 4)];
    const order = new Generator(5).permutation(1500, { device: 'cpu' });
    const expected = await polynomialMmd(x, y);
    const shuffled = await polynomialMmd(indexSelect(x, 0, order), y);
    expect(Math.abs(shuffled - expected)).toBeLessThan(1e-12);
    expect(Math.abs((await polynomialMmd(y, x)) - expected)).toBeLessThan(1e-12);
  });

  test('a set is compared with itself as with a copy', async () => {
    expect(await polynomialMmd(real, real)).toBe(await polynomialMmd(real, real.add(0)));
  });

  test('is unbiased: near 0 for samples of one distribution, whatever their number', async () => {
    let sum = 0;
    for (let seed = 0; seed < 200; seed++)
      sum += await polynomialMmd(random([10, 4], 100 + seed), random([14, 4], 5000 + seed));
    expect(Math.abs(sum / 200)).toBeLessThan(0.1); // the biased estimate lies near 0.9
  });
});

describe('kernelDistance', () => {
  test('is the same for the same seed, and near the value on all samples', async () => {
    const options = { subsets: 20, subsetSize: 200 };
    const first = await kernelDistance(real, fake, options);
    expect(await kernelDistance(real, fake, { ...options, seed: 0 })).toEqual(first);
    expect(await kernelDistance(real, fake, { ...options, seed: 1 })).not.toEqual(first);
    const all = await polynomialMmd(real, fake);
    expect(Math.abs(first.mean - all)).toBeLessThan(first.std);
  });

  test('one subset of everything is the value on all samples', async () => {
    const some = real.narrow(0, 0, 300);
    const { mean, std } = await kernelDistance(some, fake, { subsets: 1, subsetSize: 300 });
    expect(mean).toBeCloseTo(await polynomialMmd(some, fake), 12);
    expect(std).toBe(0);
  });

  test.each(availableDevices.map((device) => [device.name, device] as const))(
    'features on %s give the same bits',
    async (_, device) => {
      const options = { subsets: 3, subsetSize: 50 };
      const expected = await kernelDistance(real, fake, options);
      expect(await kernelDistance(real.to(device), fake.to(device), options)).toEqual(expected);
    },
  );

  test('too few samples and NaN are named', async () => {
    await expect(kernelDistance(real, fake)).rejects.toThrow(
      /real has 400.*subset of 1000.*subsetSize/,
    );
    await expect(kernelDistance(real, fake, { subsetSize: 350 })).rejects.toThrow(
      /generated has 300/,
    );
    await expect(kernelDistance(real, fake, { subsetSize: 1 })).rejects.toThrow(/at least 2/);
    await expect(kernelDistance(real, fake, { subsets: 0 })).rejects.toThrow(/subsets must be/);
    await expect(polynomialMmd(real.narrow(0, 0, 1), fake)).rejects.toThrow(/x has 1 samples/);
    const bad = tensor([[1], [NaN]]);
    await expect(polynomialMmd(tensor([[1], [2]]), bad)).rejects.toThrow(/y holds NaN in row 1/);
  });
});
