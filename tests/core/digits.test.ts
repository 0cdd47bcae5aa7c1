// Digits that a shorter formula would lose.
import { describe, expect, test } from 'vitest';
import { grad, lerp, pow, tensor, type DType, type Tensor } from '../../lib/index.js';

const numbers = (x: Tensor): number[] => Array.from(x.dataSync(), Number);

describe('a number to the power of a tensor', () => {
  test.each<[number, DType, number[], number[]]>([
    [2, 'bfloat16', [3, 10, 20], [8, 1024, 1048576]],
    [10.3, 'bfloat16', [2], [106]],
    [10, 'float32', [2, 5], [100, 100000]],
    [2, 'float16', [-3, 10], [0.125, 1024]],
    [1, 'float32', [Infinity], [1]],
  ])('%d in %s', (base, dtype, exponents, expected) => {
    expect(numbers(pow(base, tensor(exponents, { dtype })))).toEqual(expected);
  });

  test('has the gradient a^b · ln a', () => {
    const b = tensor([0, 3], { dtype: 'float64', requiresGrad: true });
    const [gradient] = grad(pow(2, b).sum(), [b]);
    expect(numbers(gradient)).toEqual([Math.LN2, 8 * Math.LN2]);
  });
});

test('lerp ends at its second operand', () => {
  const [a, b] = [tensor([1e8, 1e8]), tensor([1, -3])];
  expect(numbers(lerp(a, b, 0))).toEqual([1e8, 1e8]);
  expect(numbers(lerp(a, b, 1))).toEqual([1, -3]);
  expect(numbers(lerp(a, b, tensor([0, 1])))).toEqual([1e8, -3]);
  const weight = tensor([0.25, 0.75], { requiresGrad: true });
  expect(numbers(lerp(tensor([2, 2]), tensor([6, 6]), weight))).toEqual([3, 5]);
  const [slope] = grad(lerp(tensor([2, 2]), tensor([6, 6]), weight).sum(), [weight]);
  expect(numbers(slope)).toEqual([4, 4]);
});
