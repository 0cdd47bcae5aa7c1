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
