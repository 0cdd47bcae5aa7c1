import { logSoftmax, ones, softmax } from '../../lib/index.js';
import { map, reduce, total, type NdArray } from '../support/oracle.js';
import type { OpCases } from './cases.js';

function logDefinition(x: NdArray, axis: number): NdArray {
  const top = reduce(x, [axis], (values) => Math.max(...values), true);
  const shifted = map((a, b) => a - b, x, top);
  const sums = reduce(shifted, [axis], (values) => total(values.map(Math.exp)), true);
  return map((a, b) => a - Math.log(b), shifted, sums);
}

const definition = (x: NdArray, axis: number): NdArray => map(Math.exp, logDefinition(x, axis));

const masked = [0.5, -Infinity, 2, -Infinity, -Infinity, -Infinity, 1e4, -1e4, 3];

export default [
  {
    op: 'softmax',
    cases: [
      {
        name: 'last axis, odd length',
        inputs: { x: [3, 5, 37] },
        run: ({ x }) => softmax(x),
        reference: ({ x }) => definition(x, 2),
        reduction: 37,
      },
      {
        name: 'middle axis, whole vectors and a rest',
        inputs: { x: [2, 6, 5, 7] },
        run: ({ x }) => softmax(x, 1),
        reference: ({ x }) => definition(x, 1),
        reduction: 6,
      },
      {
        name: 'first axis',
        inputs: { x: [9, 3] },
        run: ({ x }) => softmax(x, 0),
        reference: ({ x }) => definition(x, 0),
        reduction: 9,
      },
      {
        name: 'last axis, four threads per row',
        inputs: { x: [70, 24] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 24,
      },
      {
        name: 'last axis, a warp per row',
        inputs: { x: [9, 200] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 200,
      },
      {
        name: 'last axis, a warp per row, odd',
        inputs: { x: [9, 251] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 251,
      },
      {
        name: 'last axis, two vectors per lane',
        inputs: { x: [9, 400] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 400,
      },
      {
        name: 'last axis, three vectors per lane',
        inputs: { x: [3, 768] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 768,
      },
      {
        name: 'last axis, five vectors per lane',
        inputs: { x: [3, 1280] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 1280,
      },
      {
        name: 'last axis, a block per row',
        inputs: { x: [2, 4096] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 4096,
      },
      {
        name: 'last axis, a block per row, odd',
        inputs: { x: [2, 1999] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 1999,
      },
      {
        name: 'last axis, the longest rows in registers',
        inputs: { x: [2, 9216] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 9216,
      },
      {
        name: 'last axis, longer than registers hold',
        inputs: { x: [2, 12288] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 12288,
      },
      {
        name: 'last axis, longer than registers hold, odd',
        inputs: { x: [1, 5001] },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 5001,
      },
      {
        name: 'inner axis, vectors across series',
        inputs: { x: [3, 40, 48] },
        run: ({ x }) => softmax(x, 1),
        reference: ({ x }) => definition(x, 1),
        reduction: 40,
      },
      {
        name: 'inner axis, many series',
        inputs: { x: [2, 3, 600] },
        run: ({ x }) => softmax(x, 1),
        reference: ({ x }) => definition(x, 1),
        reduction: 3,
      },
      {
        name: 'first axis, few long series',
        inputs: { x: [1500, 3] },
        run: ({ x }) => softmax(x, 0),
        reference: ({ x }) => definition(x, 0),
        reduction: 1500,
      },
      {
        name: 'first axis, a long series of one vector',
        inputs: { x: [300, 8] },
        run: ({ x }) => softmax(x, 0),
        reference: ({ x }) => definition(x, 0),
        reduction: 300,
      },
      {
        name: 'inner axis: -∞ at first, a series of only -∞, +∞ and NaN',
        inputs: {
          x: {
            shape: [4, 4],
            values: [
              ...[-Infinity, -Infinity, 1, 0],
              ...[-Infinity, -Infinity, Infinity, NaN],
              ...[1, -Infinity, 0, 1],
              ...[1, -Infinity, 2, 2],
            ],
          },
        },
        run: ({ x }) => softmax(x, 0),
        reference: () => [
          0,
          NaN,
          NaN,
          NaN,
          0,
          NaN,
          NaN,
          NaN,
          0.5,
          NaN,
          NaN,
          NaN,
          0.5,
          NaN,
          NaN,
          NaN,
        ],
        grad: false,
      },
      {
        name: 'last axis: +∞ and NaN',
        inputs: { x: { shape: [2, 3], values: [0, Infinity, 1, 1, 2, NaN] } },
        run: ({ x }) => softmax(x),
        reference: () => [NaN, NaN, NaN, NaN, NaN, NaN],
        grad: false,
      },
      {
        name: 'large logits do not overflow',
        inputs: { x: { shape: [4, 33], values: 'uniform', low: -1000, high: 1000 } },
        run: ({ x }) => softmax(x, -1),
        reference: ({ x }) => definition(x, 1),
        reduction: 33,
        grad: false,
      },
      {
        name: 'one class',
        inputs: { x: [3, 1] },
        run: ({ x }) => softmax(x),
        reference: () => [1, 1, 1],
      },
      {
        name: 'masked: a row of only -∞ is NaN',
        inputs: { x: { shape: [3, 3], values: masked } },
        run: ({ x }) => softmax(x),
        reference: () => {
          const first = 1 / (1 + Math.exp(1.5));
          return [first, 0, 1 - first, NaN, NaN, NaN, 1, 0, 0];
        },
        grad: false,
      },
      {
        name: 'empty',
        inputs: { x: [2, 0] },
        run: ({ x }) => softmax(x),
        reference: ({ x }) => x,
      },
      {
        name: 'last axis, past small caches',
        inputs: { x: [66, 1008] },
        run: ({ x }) => softmax(x),
        reference: ({ x }) => definition(x, 1),
        reduction: 1008,
        large: true,
      },
      {
        name: 'middle axis, past small caches',
        inputs: { x: [5, 130, 112] },
        run: ({ x }) => softmax(x, 1),
        reference: ({ x }) => definition(x, 1),
        reduction: 130,
        large: true,
      },
      {
        name: 'attention, 4096 keys',
        inputs: { x: [2048, 4096] },
        run: ({ x }) => softmax(x),
        bench: 'only',
        bytes: 2 * 4 * 2048 * 4096,
      },
    ],
    errors: [
      {
        name: 'an axis that does not exist',
        run: () => softmax(ones([2, 3]), 2),
        message: /softmax: axis 2 does not exist in 2 dimensions/,
      },
      {
        name: 'integers',
        run: () => softmax(ones([2, 3], { dtype: 'int32' })),
        message: /softmax: x must have a floating dtype/,
      },
    ],
  },
  {
    op: 'logSoftmax',
    cases: [
      {
        name: 'last axis, odd length',
        inputs: { x: [3, 5, 37] },
        run: ({ x }) => logSoftmax(x),
        reference: ({ x }) => logDefinition(x, 2),
        reduction: 37,
      },
      {
        name: 'middle axis, whole vectors and a rest',
        inputs: { x: [2, 6, 5, 7] },
        run: ({ x }) => logSoftmax(x, -3),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 6,
      },
      {
        name: 'last axis, three vectors per lane',
        inputs: { x: [9, 640] },
        run: ({ x }) => logSoftmax(x, -1),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 640,
      },
      {
        name: 'last axis, a block per row',
        inputs: { x: [2, 2048] },
        run: ({ x }) => logSoftmax(x, -1),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 2048,
      },
      {
        name: 'last axis, longer than registers hold',
        inputs: { x: [2, 10248] },
        run: ({ x }) => logSoftmax(x, -1),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 10248,
      },
      {
        name: 'last axis, longer than registers hold, odd',
        inputs: { x: [1, 4999] },
        run: ({ x }) => logSoftmax(x, -1),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 4999,
      },
      {
        name: 'last axis, past small caches',
        inputs: { x: [66, 1008] },
        run: ({ x }) => logSoftmax(x),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 1008,
        large: true,
      },
      {
        name: 'inner axis, vectors across series',
        inputs: { x: [2, 100, 40] },
        run: ({ x }) => logSoftmax(x, 1),
        reference: ({ x }) => logDefinition(x, 1),
        reduction: 100,
      },
      {
        name: 'first axis, few long series',
        inputs: { x: [1100, 5] },
        run: ({ x }) => logSoftmax(x, 0),
        reference: ({ x }) => logDefinition(x, 0),
        reduction: 1100,
      },
      {
        name: 'where softmax underflows',
        inputs: { x: { shape: [2, 3], values: [0, -200, -1000, 5, 5, 5] } },
        run: ({ x }) => logSoftmax(x),
        reference: ({ x }) => logDefinition(x, 1),
      },
      {
        name: 'empty',
        inputs: { x: [0, 4] },
        run: ({ x }) => logSoftmax(x, 0),
        reference: ({ x }) => x,
      },
    ],
    errors: [
      {
        name: 'an axis that is no integer',
        run: () => logSoftmax(ones([2, 3]), 0.5),
        message: /logSoftmax: axis 0.5 does not exist in 2 dimensions/,
      },
    ],
  },
] satisfies OpCases[];
