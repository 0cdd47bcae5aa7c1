import { describe, expect, test } from 'vitest';
import {
  constant_,
  empty,
  Generator,
  huberLoss,
  kaimingUniform_,
  l1Loss,
  Linear,
  manualSeed,
  mseLoss,
  normal_,
  parameter,
  tensor,
  uniform_,
  zeroModule,
  zeros,
} from '../../lib/index.js';

const sample = () => empty([10_000]);
const moments = (values: ArrayLike<number | bigint>) => {
  const numbers = Array.from(values, Number);
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const variance = numbers.reduce((a, b) => a + (b - mean) ** 2, 0) / numbers.length;
  return { mean, std: Math.sqrt(variance), low: Math.min(...numbers), high: Math.max(...numbers) };
};

describe('init', () => {
  test('uniform_ fills its interval', () => {
    const { mean, std, low, high } = moments(
      uniform_(sample(), -1, 3, new Generator(0)).dataSync(),
    );
    expect(mean).toBeCloseTo(1, 1);
    expect(std).toBeCloseTo(4 / Math.sqrt(12), 1);
    expect(low >= -1 && high < 3).toBe(true);
  });

  test('normal_ has its mean and deviation', () => {
    const { mean, std } = moments(normal_(sample(), 5, 0.1, new Generator(0)).dataSync());
    expect(mean).toBeCloseTo(5, 2);
    expect(std).toBeCloseTo(0.1, 2);
  });

  test('kaimingUniform_ stays within 1/√fanIn by default, √(6/fanIn) for a ReLU', () => {
    const linear = moments(kaimingUniform_(sample(), 25, new Generator(0)).dataSync());
    expect(linear.high).toBeCloseTo(0.2, 3);
    const relu = moments(kaimingUniform_(sample(), 6, new Generator(0), 0).dataSync());
    expect(relu.low).toBeCloseTo(-1, 2);
  });

  test('weights are overwritten in place, in any dtype, without being recorded', () => {
    const weight = parameter(zeros([3], { dtype: 'float16' }));
    expect(constant_(weight, 0.5)).toBe(weight);
    expect([...weight.dataSync()]).toEqual([0.5, 0.5, 0.5]);
    expect(weight.requiresGrad && weight.node === null).toBe(true);
  });

  test('manualSeed repeats weights', () => {
    manualSeed(3);
    const first = new Linear(3, 3).weight.dataSync();
    expect(new Linear(3, 3).weight.dataSync()).not.toEqual(first);
    manualSeed(3);
    expect(new Linear(3, 3).weight.dataSync()).toEqual(first);
  });

  test('zeroModule silences a branch', () => {
    const y = zeroModule(new Linear(2, 2)).forward(tensor([[1, 2]]));
    expect([...y.dataSync()]).toEqual([0, 0]);
  });
});

describe('losses', () => {
  const x = tensor([0, 0, 0, 0]);
  const y = tensor([0, 0.5, -1, 3]);
  const valuesOf = (reduction: 'mean' | 'sum' | 'none') =>
    [mseLoss, l1Loss, huberLoss].map((loss) => [...loss(x, y, { reduction }).dataSync()]);

  test('elements, sums and means', () => {
    expect(valuesOf('none')).toEqual([
      [0, 0.25, 1, 9],
      [0, 0.5, 1, 3],
      [0, 0.125, 0.5, 2.5],
    ]);
    expect(valuesOf('sum')).toEqual([[10.25], [4.5], [3.125]]);
    expect(valuesOf('mean')).toEqual([[2.5625], [1.125], [0.78125]]);
  });

  test('the bend of the Huber loss moves with delta', () => {
    const elements = huberLoss(x, y, { delta: 2, reduction: 'none' }).dataSync();
    expect([...elements]).toEqual([0, 0.125, 0.5, 4]);
  });

  test('a prediction of another shape is not broadcast', () => {
    expect(() => mseLoss(zeros([2, 1]), zeros([2]))).toThrow(/one shape, got \[2, 1\] and \[2\]/);
    expect(() => l1Loss(x, y, { reduction: 'max' as 'mean' })).toThrow(/got max/);
    expect(() => huberLoss(x, y, { delta: 0 })).toThrow(/delta must be positive/);
  });
});
