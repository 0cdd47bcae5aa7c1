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
      {
        name: 'one entry of each of many rows',
        inputs: { x: [50, 33], index: { shape: [47, 1], dtype: 'int64', high: 33 } },
        run: ({ x, index }) => gather(x, 1, index),
        reference: ({ x, index }) => generate([47, 1], (i) => at(x, i, at(index, i, 0))),
      },
      {
        name: 'many entries along the middle axis',
        inputs: { x: [3, 7, 5], index: { shape: [2, 70, 4], dtype: 'int32', high: 7 } },
        run: ({ x, index }) => gather(x, 1, index),
        reference: ({ x, index }) =>
          generate([2, 70, 4], (i, j, k) => at(x, i, at(index, i, j, k), k)),
        reduction: 30,
      },
      {
        name: 'a schedule at many times',
        inputs: { x: [100], index: { shape: [90], dtype: 'int64', high: 100 } },
        run: ({ x, index }) => gather(x, 0, index),
        reference: ({ x, index }) => generate([90], (i) => at(x, at(index, i))),
        reduction: 8,
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
      {
        name: 'many entries of a row meet',
        inputs: { x: [3, 9], index: { shape: [2, 75], dtype: 'int32', high: 9 }, src: [2, 75] },
        run: ({ x, index, src }) => scatterAdd(x, 1, index, src),
        reference({ x, index, src }) {
          const y = copyOf(x);
          generate([2, 75], (i, j) => (y.data[i * 9 + at(index, i, j)] += at(src, i, j)));
          return y;
        },
        reduction: 30,
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
        name: 'slices of whole packs',
        inputs: { x: [2, 5, 24], ids: { shape: [9], dtype: 'int64', high: 5 } },
        run: ({ x, ids }) => indexSelect(x, 1, ids),
        reference: ({ x, ids }) => generate([2, 9, 24], (i, j, k) => at(x, i, at(ids, j), k)),
        reduction: 6,
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
      {
        name: 'many ids, whole packs',
        inputs: { x: [2, 6, 16], ids: { shape: [40], dtype: 'int64', high: 6 }, src: [2, 40, 16] },
        run: ({ x, ids, src }) => indexAdd(x, 1, ids, src),
        reference({ x, ids, src }) {
          const y = copyOf(x);
          generate(
            [2, 40, 16],
            (i, j, k) => (y.data[(i * 6 + at(ids, j)) * 16 + k] += at(src, i, j, k)),
          );
          return y;
        },
        reduction: 20,
      },
      {
        name: 'one id very often, in few and in many rows',
        inputs: {
          x: [130, 3],
          ids: indices(
            [80],
            Array.from({ length: 80 }, (_, i) => (i % 9 ? 1 : 2)),
          ),
          src: [130, 80],
        },
        run: ({ x, ids, src }) => [
          indexAdd(x, 1, ids, src),
          indexAdd(x.slice([[0, 2]]), 1, ids, src.slice([[0, 2]])),
        ],
        reference({ x, ids, src }) {
          const y = copyOf(x);
          generate([130, 80], (i, j) => (y.data[i * 3 + at(ids, j)] += at(src, i, j)));
          return [y, nd(y.data.slice(0, 6), [2, 3])];
        },
        reduction: 80,
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
      {
        name: 'rows that end inside of packs',
        inputs: { ids: { shape: [19], dtype: 'int32', high: 5 } },
        run: ({ ids }, { dtype }) => [
          oneHot(ids, 5, { dtype }),
          oneHot(ids, 5, { dtype: 'uint8' }),
        ],
        reference({ ids }) {
          const y = generate([19, 5], (i, c) => (at(ids, i) === c ? 1 : 0));
          return [y, y];
        },
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
