// Arguments that JavaScript lets through and types do not: each is refused by the call's name.
import { describe, expect, test } from 'vitest';
import {
  AdamW,
  arange,
  ArgumentError,
  Conv2d,
  Embedding,
  GroupNorm,
  LayerNorm,
  Linear,
  matmul,
  Muon,
  narrow,
  ones,
  randn,
  relu,
  ShapeError,
  sum,
  tensor,
  zeros,
} from '../../lib/index.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- calls from plain JavaScript, which no compiler checks */
const x: any = ones([2, 2]);

describe('values of a tensor', () => {
  test.each<[string, unknown, RegExp]>([
    ['a tensor', x, /^tensor: expected numbers, booleans or bigints, got Tensor; x.detach\(\)/],
    ['tensors', [x, x], /got Tensor; .* stack\(\)/],
    ['text', [1, 'a'], /got string a/],
    ['null', null, /got null/],
    ['nothing', [1, undefined], /got undefined/],
    ['a set', new Set([1]), /got Set/],
    ['a hole', Array(2), /got undefined/],
  ])('are not %s', (_what, data, message) => {
    expect(() => tensor(data as any)).toThrow(ArgumentError);
    expect(() => tensor(data as any)).toThrow(message);
  });

  test('are booleans, bigints and typed arrays as rows too', () => {
    expect([...tensor([true, 2, 3n]).dataSync()]).toEqual([1, 2, 3]);
    const rows = tensor([Float32Array.of(1, 2), [3, 4]]);
    expect(rows.shape).toEqual([2, 2]);
    expect([...rows.dataSync()]).toEqual([1, 2, 3, 4]);
    expect(() => tensor([Float32Array.of(1, 2), [3]])).toThrow(/ragged array/);
  });

  test('keep every digit of bigints in int64', () => {
    const large = 2n ** 60n + 1n;
    expect([...tensor([large, 7, true], { dtype: 'int64' }).dataSync()]).toEqual([large, 7n, 1n]);
    expect(tensor(-large, { dtype: 'int64' }).dataSync()[0]).toBe(-large);
    expect(() => tensor([large, 0.5], { dtype: 'int64' })).toThrow(/0.5 among bigints/);
    expect(() => tensor(2n ** 63n, { dtype: 'int64' })).toThrow(/beyond the range of int64/);
  });
});

test('narrow stays inside its axis', () => {
  const line = arange(5);
  expect([...narrow(line, 0, -2, 2).dataSync()]).toEqual([3, 4]);
  for (const [start, length] of [
    [-7, 1],
    [0, -1],
    [4, 2],
    [0.5, 1],
  ])
    expect(() => narrow(line, 0, start, length)).toThrow(ShapeError);
  expect(() => narrow(line, 0, -7, 1)).toThrow(
    'narrow: 1 entries from -7 are not within axis 0 of x, whose shape is [5]',
  );
});

test.each<[string, () => unknown]>([
  ['Linear', () => new Linear(3, 4, false as any)],
  ['Conv2d', () => new Conv2d(3, 4, 3 as any)],
  ['Embedding', () => new Embedding(3, 4, 'float32' as any)],
  ['GroupNorm', () => new GroupNorm(1, 4, 1e-5 as any)],
  ['LayerNorm', () => new LayerNorm(4, 1e-5 as any)],
  ['AdamW', () => new AdamW([x], 1e-3 as any)],
  ['Muon', () => new Muon([x], 1e-3 as any)],
  ['sum', () => sum(x, 0, true as any)],
  ['zeros', () => zeros([2], 'float64' as any)],
  ['tensor', () => tensor([2], null as any)],
  ['random', () => randn([2], 'float64' as any)],
])('%s takes its options as an object', (name, call) => {
  expect(call).toThrow(ArgumentError);
  expect(call).toThrow(new RegExp(`^${name}: options must be an object such as`));
});

test.each<[string, () => unknown]>([
  ['matmul: b must be a Tensor, got undefined', () => matmul(x, undefined as any)],
  ['add: b must be a Tensor, got null', () => x.add(null)],
  ['mul: a must be a Tensor, got undefined', () => x.mul.call(undefined, x)],
  ['relu: x must be a Tensor, got undefined', () => relu(undefined as any)],
  ['reshape: the shape must be an array such as [2, 3], got number 3', () => x.reshape(3, 2)],
])('%s', (message, call) => {
  expect(call).toThrow(ArgumentError);
  expect(call).toThrow(message);
});
