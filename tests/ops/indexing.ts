import {
  gather,
  indexAdd,
  indexSelect,
  oneHot,
  ones,
  scatterAdd,
  tensor,
  zeros,
} from '../../lib/index.js';
import { at, generate, nd, type NdArray } from '../support/oracle.js';
import type { CaseFile, InputSpec } from './cases.js';

const indices = (
  shape: number[],
  values: number[],
  dtype: 'int32' | 'int64' = 'int64',
): InputSpec => ({
  shape,
  dtype,
  values,
});

const copyOf = (x: NdArray): NdArray => nd(x.data, x.shape);

export default [
  {
    op: 'gather',
    cases: [
      {
        name: 'last axis, repeats',
        inputs: {
          x: [3, 4],
          index: indices([3, 5], [0, 3, 3, 1, 0, 2, 2, 2, 2, 2, 1, 0, 3, 0, 1]),
        },
        run: ({ x, index }) => gather(x, 1, index),
        reference: ({ x, index }) => generate([3, 5], (i, j) => at(x, i, at(index, i, j))),
        reduction: 5,
      },
      {
        name: 'first axis, narrower index, int32',
        inputs: { x: [4, 3, 2], index: indices([2, 2, 2], [3, 0, 1, 1, 3, 0, 2, 1], 'int32') },
        run: ({ x, index }) => gather(x, 0, index),
        reference: ({ x, index }) =>
          generate([2, 2, 2], (i, j, k) => at(x, at(index, i, j, k), j, k)),
        reduction: 2,
      },
    ],
    errors: [
      {
        name: 'index outside, found while running',
        run: () => gather(ones([2, 3]), 1, tensor([[0], [3]], { dtype: 'int64' })),
        message: /gather: index 3 at position 1 is outside 0\.\.2/,
      },
      {
        name: 'negative index',
        run: () => gather(ones([2, 3]), 1, tensor([[0], [-1]], { dtype: 'int64' })),
        message: /gather: index -1/,
      },
      {
        name: 'float index',
        run: () => gather(ones([2, 3]), 1, zeros([2, 1])),
        message: /index must be int32 or int64/,
      },
    ],
  },
  {
    op: 'scatterAdd',
    cases: [
      {
        name: 'rows that meet',
        inputs: { x: [3, 2], index: indices([4, 2], [0, 2, 0, 2, 1, 1, 0, 2]), src: [4, 2] },
        run: ({ x, index, src }) => scatterAdd(x, 0, index, src),
        reference({ x, index, src }) {
          const y = copyOf(x);
          generate([4, 2], (i, j) => (y.data[at(index, i, j) * 2 + j] += at(src, i, j)));
          return y;
        },
        reduction: 4,
      },
    ],
    errors: [
      {
        name: 'src of another shape',
        run: () => scatterAdd(ones([3]), 0, tensor([0, 1], { dtype: 'int64' }), ones([3])),
        message: /src \[3\] must have the shape of index \[2\]/,
      },
    ],
  },
  {
    op: 'indexSelect',
    cases: [
      {
        name: 'rows of a table, repeats',
        inputs: { x: [5, 7], ids: indices([6], [4, 0, 4, 4, 2, 0]) },
        run: ({ x, ids }) => indexSelect(x, 0, ids),
        reference: ({ x, ids }) => generate([6, 7], (i, j) => at(x, at(ids, i), j)),
        reduction: 3,
      },
      {
        name: 'columns',
        inputs: { x: [2, 3, 2], ids: indices([2], [2, 1], 'int32') },
        run: ({ x, ids }) => indexSelect(x, 1, ids),
        reference: ({ x, ids }) => generate([2, 2, 2], (i, j, k) => at(x, i, at(ids, j), k)),
      },
      {
        name: 'none',
        inputs: { x: [5, 7], ids: indices([0], []) },
        run: ({ x, ids }) => indexSelect(x, 0, ids),
        reference: () => nd([], [0, 7]),
      },
    ],
    errors: [
      {
        name: 'id outside, found while running',
        run: () => indexSelect(ones([4, 2]), 0, tensor([1, 4], { dtype: 'int64' })),
        message: /index_select: index 4 at position 1/,
      },
    ],
  },
  {
    op: 'indexAdd',
    cases: [
      {
        name: 'rows that meet, wider than a block',
        inputs: { x: [3, 300], ids: indices([4], [2, 0, 2, 2]), src: [4, 300] },
        run: ({ x, ids, src }) => indexAdd(x, 0, ids, src),
        reference({ x, ids, src }) {
          const y = copyOf(x);
          generate([4, 300], (i, j) => (y.data[at(ids, i) * 300 + j] += at(src, i, j)));
          return y;
        },
        reduction: 4,
      },
    ],
    errors: [
      {
        name: 'src of another shape',
        run: () => indexAdd(ones([3, 2]), 0, tensor([0], { dtype: 'int64' }), ones([2, 2])),
        message: /src \[2, 2\] must be x \[3, 2\] with 1 entries on axis 0/,
      },
    ],
  },
  {
    op: 'oneHot',
    cases: [
      {
        name: 'a batch of classes',
        inputs: { ids: indices([2, 2], [0, 3, 1, 1]) },
        run: ({ ids }, { dtype }) => oneHot(ids, 4, { dtype }),
        reference: ({ ids }) => generate([2, 2, 4], (i, j, c) => (at(ids, i, j) === c ? 1 : 0)),
        tolerance: 'exact',
      },
    ],
    errors: [
      {
        name: 'id outside',
        run: () => oneHot(tensor([4], { dtype: 'int64' }), 4),
        message: /one_hot: index 4/,
      },
      {
        name: 'no classes',
        run: () => oneHot(tensor([0], { dtype: 'int64' }), 0),
        message: /positive integer/,
      },
    ],
  },
] satisfies CaseFile;
