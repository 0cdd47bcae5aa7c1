// Long because it is a family: seventeen small ops, one or two cases each.
import {
  chunk,
  concat,
  expand,
  flatten,
  flip,
  narrow,
  ones,
  pad,
  permute,
  select,
  slice,
  split,
  squeeze,
  stack,
  tile,
  transpose,
  unsqueeze,
  zeros,
  type PadOptions,
} from '../../lib/index.js';
import { at, generate, nd, type NdArray } from '../support/oracle.js';
import type { CaseFile, OpCase } from './cases.js';

const permuted = (x: NdArray, axes: number[]): NdArray =>
  generate(
    axes.map((axis) => x.shape[axis]),
    (...index) => at(x, ...x.shape.map((_, axis) => index[axes.indexOf(axis)])),
  );

// Shapes that reach each path: tiles with and without rests, few channels, no transpose at all, nothing.
const permutation = (name: string, shape: number[], axes: number[], bench = false): OpCase => ({
  name,
  inputs: { x: shape },
  run: ({ x }) => permute(x, axes),
  reference: ({ x }) => permuted(x, axes),
  tolerance: 'exact',
  bench,
});

const along = (axis: number, parts: NdArray[]): NdArray => {
  const shape = [...parts[0].shape];
  shape[axis] = parts.reduce((sum, part) => sum + part.shape[axis], 0);
  return generate(shape, (...index) => {
    for (const part of parts) {
      if (index[axis] < part.shape[axis]) return at(part, ...index);
      index[axis] -= part.shape[axis];
    }
    throw new Error('outside');
  });
};

const cut = (x: NdArray, from: number[], shape: number[]): NdArray =>
  generate(shape, (...index) => at(x, ...index.map((i, axis) => i + from[axis])));

const border = (
  name: string,
  shape: number[],
  pads: [number, number][],
  options: PadOptions,
): OpCase => ({
  name,
  inputs: { x: shape },
  run: ({ x }) => pad(x, pads, options),
  reference: ({ x }) =>
    generate(
      shape.map((extent, axis) => extent + pads[axis][0] + pads[axis][1]),
      (...index) => {
        const source = index.map((o, axis) => {
          const last = shape[axis] - 1;
          const i = o - pads[axis][0];
          if (options.mode === 'replicate') return Math.min(Math.max(i, 0), last);
          if (options.mode === 'reflect') return last - Math.abs(last - Math.abs(i));
          return i;
        });
        const inside = source.every((i, axis) => i >= 0 && i < shape[axis]);
        return inside ? at(x, ...source) : (options.value ?? 0);
      },
    ),
  tolerance: options.mode && options.mode !== 'constant' ? 'elementwise' : 'exact',
  reduction: 4,
});

export default [
  {
    op: 'permute',
    cases: [
      permutation('NCHW to NHWC, odd sizes', [2, 19, 9, 11], [0, 2, 3, 1], true),
      permutation('NHWC to NCHW, three channels', [2, 9, 11, 3], [0, 3, 1, 2]),
      permutation('NHWC to NCHW, many channels', [1, 16, 24, 72], [0, 3, 1, 2]),
      permutation('NHWC to NCHW, an image of three channels', [2, 22, 20, 3], [0, 3, 1, 2]),
      permutation('NCHW to NHWC, an image of three channels', [2, 3, 22, 20], [0, 2, 3, 1]),
      permutation('several tiles and rests', [2, 104, 3, 136], [2, 3, 0, 1]),
      permutation('several tiles, odd extents', [67, 2, 131], [2, 1, 0]),
      permutation('OIHW to OHWI', [5, 8, 3, 3], [0, 2, 3, 1]),
      permutation('all axes reversed', [3, 4, 5, 2, 3], [4, 3, 2, 1, 0]),
      permutation('inner axis stays', [4, 5, 6, 7], [2, 1, 0, 3]),
      permutation('identity', [4, 5], [0, 1]),
      permutation('size-one axes', [1, 4, 1, 5], [3, 0, 1, 2]),
      permutation('empty', [0, 3, 4], [2, 1, 0]),
    ],
    errors: [
      { name: 'axis twice', run: () => permute(zeros([2, 3]), [0, 0]), message: /name each axis/ },
      {
        name: 'axis outside',
        run: () => permute(zeros([2, 3]), [0, 2]),
        message: /axis 2 does not exist/,
      },
      { name: 'too few axes', run: () => permute(zeros([2, 3]), [0]), message: /\[0\].*\[2, 3\]/ },
    ],
  },
  {
    op: 'transpose',
    cases: [
      {
        name: 'matrices',
        inputs: { x: [3, 33, 17] },
        run: ({ x }) => transpose(x),
        reference: ({ x }) => permuted(x, [0, 2, 1]),
        tolerance: 'exact',
      },
      {
        name: 'uint8 bytes',
        inputs: { x: { shape: [40, 50], dtype: 'uint8', high: 255 } },
        run: ({ x }) => x.transpose(0, 1),
        reference: ({ x }) => permuted(x, [1, 0]),
        tolerance: 'exact',
      },
      {
        name: 'uint8 bytes, extents of whole packs',
        inputs: { x: { shape: [160, 144], dtype: 'uint8', high: 255 } },
        run: ({ x }) => x.transpose(0, 1),
        reference: ({ x }) => permuted(x, [1, 0]),
        tolerance: 'exact',
      },
      {
        name: 'eight bytes, with and without whole packs',
        inputs: {
          x: { shape: [100, 36], dtype: 'int64', high: 1000 },
          z: { shape: [37, 41], dtype: 'int64', high: 1000 },
        },
        run: ({ x, z }) => [x.transpose(0, 1), z.transpose(0, 1)],
        reference: ({ x, z }) => [permuted(x, [1, 0]), permuted(z, [1, 0])],
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'concat',
    cases: [
      {
        name: 'channels of whole packs',
        inputs: { a: [2, 5, 64], b: [2, 5, 24] },
        run: ({ a, b }) => concat([a, b], -1),
        reference: ({ a, b }) => along(2, [a, b]),
        tolerance: 'exact',
      },
      {
        name: 'very many',
        inputs: { a: [3, 2], b: [3, 1] },
        run: ({ a, b }) =>
          concat(
            Array.from({ length: 141 }, (_, i) => (i % 3 ? a : b)),
            1,
          ),
        reference: ({ a, b }) =>
          along(
            1,
            Array.from({ length: 141 }, (_, i) => (i % 3 ? a : b)),
          ),
        reduction: 94, // of the gradient; values are copied
      },
      {
        name: 'channels of three',
        inputs: { a: [2, 3, 5], b: [2, 3, 1], c: [2, 3, 4] },
        run: ({ a, b, c }) => concat([a, b, c], -1),
        reference: ({ a, b, c }) => along(2, [a, b, c]),
        tolerance: 'exact',
      },
      {
        name: 'batch, one empty',
        inputs: { a: [2, 3], b: [0, 3], c: [1, 3] },
        run: ({ a, b, c }) => concat([a, b, c]),
        reference: ({ a, b, c }) => along(0, [a, b, c]),
        tolerance: 'exact',
      },
    ],
    errors: [
      { name: 'no tensors', run: () => concat([]), message: /at least one/ },
      {
        name: 'other extents differ',
        run: () => concat([ones([2, 3]), ones([2, 4])]),
        message: /\[2, 3\] and \[2, 4\]/,
      },
      {
        name: 'dtypes',
        run: () => concat([ones([2]), ones([2], { dtype: 'int32' })]),
        message: /float32.*int32/,
      },
    ],
  },
  {
    op: 'stack',
    cases: [
      {
        name: 'in the middle',
        inputs: { a: [2, 3], b: [2, 3] },
        run: ({ a, b }) => stack([a, b], 1),
        reference: ({ a, b }) => generate([2, 2, 3], (i, which, j) => at(which ? b : a, i, j)),
        tolerance: 'exact',
      },
    ],
    errors: [
      {
        name: 'shapes differ',
        run: () => stack([ones([2]), ones([3])]),
        message: /\[2\] and \[3\]/,
      },
    ],
  },
  {
    op: 'split',
    cases: [
      {
        name: 'uneven',
        inputs: { x: [3, 7, 2] },
        run: ({ x }) => split(x, [2, 4, 1], 1),
        reference: ({ x }) => [
          cut(x, [0, 0, 0], [3, 2, 2]),
          cut(x, [0, 2, 0], [3, 4, 2]),
          cut(x, [0, 6, 0], [3, 1, 2]),
        ],
        tolerance: 'exact',
      },
    ],
    errors: [
      {
        name: 'sizes',
        run: () => split(ones([5]), [2, 2]),
        message: /\[2, 2\] must add up to the extent 5/,
      },
    ],
  },
  {
    op: 'chunk',
    cases: [
      {
        name: 'halves of the last axis',
        inputs: { x: [3, 10] },
        run: ({ x }) => chunk(x, 2, -1),
        reference: ({ x }) => [cut(x, [0, 0], [3, 5]), cut(x, [0, 5], [3, 5])],
        tolerance: 'exact',
      },
    ],
    errors: [
      { name: 'uneven', run: () => chunk(ones([5]), 2), message: /5 .*divisible by count 2/ },
    ],
  },
  {
    op: 'slice',
    cases: [
      {
        name: 'a box with ends counted from behind',
        inputs: { x: [4, 6, 5] },
        run: ({ x }) => slice(x, [[1, 3], [-4], [0, -2]]),
        reference: ({ x }) => cut(x, [1, 2, 0], [2, 4, 3]),
        tolerance: 'exact',
      },
      {
        name: 'leading axis only',
        inputs: { x: [4, 3] },
        run: ({ x }) => x.slice([[2, 3]]),
        reference: ({ x }) => cut(x, [2, 0], [1, 3]),
        tolerance: 'exact',
      },
      {
        name: 'whole packs of channels',
        inputs: { x: [3, 5, 48] },
        run: ({ x }) => slice(x, [null, [1, 4], [8, 40]]),
        reference: ({ x }) => cut(x, [0, 1, 8], [3, 3, 32]),
        tolerance: 'exact',
      },
      {
        name: 'one column of many',
        inputs: { x: [300, 7] },
        run: ({ x }) => slice(x, [null, [5, 6]]),
        reference: ({ x }) => cut(x, [0, 5], [300, 1]),
        tolerance: 'exact',
      },
      {
        name: 'nothing left',
        inputs: { x: [4, 3] },
        run: ({ x }) => slice(x, [null, [1, 1]]),
        reference: () => nd([], [4, 0]),
        tolerance: 'exact',
      },
    ],
    errors: [
      {
        name: 'too far',
        run: () => slice(ones([4, 3]), [[0, 5]]),
        message: /\[0, 5\] is no range of axis 0/,
      },
      { name: 'backwards', run: () => slice(ones([4]), [[3, 1]]), message: /\[3, 1\]/ },
      { name: 'too many', run: () => slice(ones([4]), [null, null]), message: /2 ranges/ },
    ],
  },
  {
    op: 'narrow',
    cases: [
      {
        name: 'two columns',
        inputs: { x: [3, 5] },
        run: ({ x }) => narrow(x, 1, -3, 2),
        reference: ({ x }) => cut(x, [0, 2], [3, 2]),
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'select',
    cases: [
      {
        name: 'a column',
        inputs: { x: [3, 5, 2] },
        run: ({ x }) => select(x, 1, -1),
        reference: ({ x }) => generate([3, 2], (i, j) => at(x, i, 4, j)),
        tolerance: 'exact',
      },
    ],
    errors: [
      { name: 'outside', run: () => select(ones([3]), 0, 3), message: /index 3 is outside axis 0/ },
    ],
  },
  {
    op: 'pad',
    cases: [
      border(
        'bottom and right',
        [2, 4, 5, 3],
        [
          [0, 0],
          [0, 1],
          [0, 1],
          [0, 0],
        ],
        {},
      ),
      border(
        'every axis, a value',
        [2, 3, 4],
        [
          [1, 0],
          [2, 1],
          [0, 3],
        ],
        { value: -1.5 },
      ),
      border(
        'channels of whole packs',
        [2, 3, 4, 16],
        [
          [0, 0],
          [1, 2],
          [1, 0],
          [0, 0],
        ],
        { value: 0.5 },
      ),
      border(
        'reflect channels of whole packs',
        [2, 4, 3, 16],
        [
          [0, 0],
          [2, 3],
          [1, 2],
          [0, 0],
        ],
        { mode: 'reflect' },
      ),
      border(
        'replicate channels of whole packs',
        [1, 3, 2, 8],
        [
          [1, 0],
          [2, 1],
          [0, 3],
          [0, 0],
        ],
        { mode: 'replicate' },
      ),
      border(
        'reflect to the limit',
        [2, 4, 5, 3],
        [
          [0, 0],
          [3, 2],
          [4, 4],
          [0, 0],
        ],
        { mode: 'reflect' },
      ),
      border(
        'reflect the last axis',
        [3, 6],
        [
          [0, 0],
          [2, 5],
        ],
        { mode: 'reflect' },
      ),
      border(
        'replicate',
        [2, 3, 1, 2],
        [
          [0, 0],
          [2, 1],
          [3, 2],
          [0, 0],
        ],
        { mode: 'replicate' },
      ),
      border(
        'nothing',
        [2, 3],
        [
          [0, 0],
          [0, 0],
        ],
        { mode: 'reflect' },
      ),
      border(
        'an empty tensor',
        [0, 2],
        [
          [1, 1],
          [0, 0],
        ],
        { value: 2 },
      ),
    ],
    errors: [
      {
        name: 'reflect too far',
        run: () => pad(ones([3]), [[3, 0]], { mode: 'reflect' }),
        message: /extent 3/,
      },
      {
        name: 'replicate nothing',
        run: () => pad(ones([0]), [[1, 0]], { mode: 'replicate' }),
        message: /extent 0/,
      },
      {
        name: 'too few pads',
        run: () => pad(ones([3, 3]), [[1, 1]]),
        message: /each of the 2 axes/,
      },
      { name: 'negative', run: () => pad(ones([3]), [[-1, 0]]), message: /use slice/ },
    ],
  },
  {
    op: 'flip',
    cases: [
      {
        name: 'pictures left to right',
        inputs: { x: [2, 3, 5, 3] },
        run: ({ x }) => flip(x, 2),
        reference: ({ x }) => generate([2, 3, 5, 3], (n, i, j, c) => at(x, n, i, 4 - j, c)),
        tolerance: 'exact',
      },
      {
        name: 'first and last axis',
        inputs: { x: [3, 2, 4] },
        run: ({ x }) => flip(x, [0, -1]),
        reference: ({ x }) => generate([3, 2, 4], (i, j, k) => at(x, 2 - i, j, 3 - k)),
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'expand',
    cases: [
      {
        name: 'inner and new axes',
        inputs: { x: [3, 1, 2] },
        run: ({ x }) => expand(x, [2, -1, 4, 2]),
        reference: ({ x }) => generate([2, 3, 4, 2], (_, i, __, k) => at(x, i, 0, k)),
        reduction: 8,
      },
      {
        name: 'an inner axis of whole packs',
        inputs: { x: [5, 3, 1] },
        run: ({ x }) => expand(x, [5, 3, 64]),
        reference: ({ x }) => generate([5, 3, 64], (i, j) => at(x, i, j, 0)),
        reduction: 64,
      },
      {
        name: 'a scalar',
        inputs: { x: [] },
        run: ({ x }) => expand(x, [3, 2]),
        reference: ({ x }) => generate([3, 2], () => x.data[0]),
        reduction: 6,
      },
    ],
    errors: [
      {
        name: 'not broadcastable',
        run: () => expand(ones([3]), [4]),
        message: /\[3\] does not broadcast to \[4\]/,
      },
    ],
  },
  {
    op: 'tile',
    cases: [
      {
        name: 'some axes',
        inputs: { x: [2, 3, 1] },
        run: ({ x }) => tile(x, [2, 1, 3]),
        reference: ({ x }) => generate([4, 3, 3], (i, j) => at(x, i % 2, j, 0)),
        reduction: 6,
      },
      {
        name: 'a new leading axis',
        inputs: { x: [3] },
        run: ({ x }) => tile(x, [2, 2]),
        reference: ({ x }) => generate([2, 6], (_, i) => at(x, i % 3)),
        reduction: 4,
      },
    ],
    errors: [
      {
        name: 'too few counts',
        run: () => tile(ones([2, 2]), [2]),
        message: /a count >= 0 for each axis/,
      },
    ],
  },
  {
    op: 'squeeze',
    cases: [
      {
        name: 'all',
        inputs: { x: [1, 3, 1, 2] },
        run: ({ x }) => squeeze(x),
        reference: ({ x }) => nd(x.data, [3, 2]),
        tolerance: 'exact',
      },
      {
        name: 'one',
        inputs: { x: [1, 3, 1] },
        run: ({ x }) => x.squeeze(-1),
        reference: ({ x }) => nd(x.data, [1, 3]),
        tolerance: 'exact',
      },
    ],
    errors: [
      { name: 'extent above one', run: () => squeeze(ones([3]), 0), message: /extent 3, not 1/ },
    ],
  },
  {
    op: 'unsqueeze',
    cases: [
      {
        name: 'last',
        inputs: { x: [2, 3] },
        run: ({ x }) => unsqueeze(x, -1),
        reference: ({ x }) => nd(x.data, [2, 3, 1]),
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'flatten',
    cases: [
      {
        name: 'pixels',
        inputs: { x: [2, 3, 4, 5] },
        run: ({ x }) => flatten(x, 1, 2),
        reference: ({ x }) => nd(x.data, [2, 12, 5]),
        tolerance: 'exact',
      },
    ],
    errors: [{ name: 'order', run: () => flatten(ones([2, 3]), 1, 0), message: /after end axis/ }],
  },
] satisfies CaseFile;
