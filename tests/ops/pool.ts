import { avgPool2d, maxPool2d, zeros } from '../../lib/index.js';
import type { InputArrays, OpCases } from './cases.js';
import { at, generate, total, type NdArray } from '../support/oracle.js';

type Pair = readonly [number, number];

/** Folds the pixels of each window; pixels of the padding are left out. */
function pool(
  { x }: InputArrays,
  kernel: Pair,
  stride: Pair,
  padding: Pair,
  fold: (values: number[]) => number,
): NdArray {
  const [N, H, W, C] = x.shape;
  const extent = (size: number, axis: 0 | 1) =>
    Math.floor((size + 2 * padding[axis] - kernel[axis]) / stride[axis]) + 1;
  return generate([N, extent(H, 0), extent(W, 1), C], (n, oh, ow, c) => {
    const values: number[] = [];
    for (let i = 0; i < kernel[0]; i++)
      for (let j = 0; j < kernel[1]; j++) {
        const [h, w] = [oh * stride[0] - padding[0] + i, ow * stride[1] - padding[1] + j];
        if (h >= 0 && h < H && w >= 0 && w < W) values.push(at(x, n, h, w, c));
      }
    return fold(values);
  });
}

const errorsOf = (name: string, op: typeof avgPool2d) => [
  {
    name: 'a window larger than the image',
    run: () => op(zeros([1, 3, 8, 2]), { kernel: 4 }),
    message: new RegExp(`${name}: a window of 4 x 4 does not fit into .*\\[1, 3, 8, 2\\]`),
  },
  {
    name: 'padding beyond half the kernel',
    run: () => op(zeros([1, 8, 8, 2]), { kernel: 2, padding: 2 }),
    message: /padding \(2, 2\) must be at most half the kernel \(2, 2\)/,
  },
  {
    name: 'a fractional stride',
    run: () => op(zeros([1, 8, 8, 2]), { kernel: 2, stride: 0.5 }),
    message: /stride must be integers >= 1, got 0.5/,
  },
  {
    name: 'no batch axis',
    run: () => op(zeros([8, 8, 2]), { kernel: 2 }),
    message: /x must have 4 dimensions/,
  },
];

export default [
  {
    op: 'avgPool2d',
    cases: [
      {
        name: 'halves an odd image of 21 channels',
        inputs: { x: [2, 7, 5, 21] },
        run: ({ x }) => avgPool2d(x, { kernel: 2 }),
        reference: (inputs) => pool(inputs, [2, 2], [2, 2], [0, 0], (v) => total(v) / 4),
      },
      {
        name: 'overlapping windows, padding counted',
        inputs: { x: [1, 6, 9, 3] },
        run: ({ x }) => avgPool2d(x, { kernel: [3, 4], stride: [1, 2], padding: [1, 2] }),
        reference: (inputs) => pool(inputs, [3, 4], [1, 2], [1, 2], (v) => total(v) / 12),
        reduction: 12,
      },
      {
        name: 'overlapping windows, channels of whole packs',
        inputs: { x: [2, 5, 6, 16] },
        run: ({ x }) => avgPool2d(x, { kernel: 3, stride: 2, padding: 1 }),
        reference: (inputs) => pool(inputs, [3, 3], [2, 2], [1, 1], (v) => total(v) / 9),
        reduction: 9,
      },
      {
        name: 'gaps between the windows, one channel',
        inputs: { x: [1, 8, 8, 1] },
        run: ({ x }) => avgPool2d(x, { kernel: 2, stride: 3 }),
        reference: (inputs) => pool(inputs, [2, 2], [3, 3], [0, 0], (v) => total(v) / 4),
      },
      {
        name: 'no batch',
        inputs: { x: [0, 4, 4, 3] },
        run: ({ x }) => avgPool2d(x, { kernel: 2 }),
        reference: () => [],
      },
      {
        name: '64 x 64, 128 channels',
        inputs: { x: [4, 64, 64, 128] },
        run: ({ x }) => avgPool2d(x, { kernel: 2 }),
        bytes: 4 * 64 * 64 * 128 * 4 * 1.25,
        bench: 'only',
      },
    ],
    errors: errorsOf('avgPool2d', avgPool2d),
  },
  {
    op: 'maxPool2d',
    cases: [
      {
        name: 'halves an odd image of 19 channels',
        inputs: { x: [2, 7, 5, 19] },
        run: ({ x }) => maxPool2d(x, { kernel: 2 }),
        reference: (inputs) => pool(inputs, [2, 2], [2, 2], [0, 0], (v) => Math.max(...v)),
        // Rounding to 16 bits makes ties, and the gradient goes to another pixel.
        tolerance: 'exact',
        dtypes: ['float64', 'float32'],
      },
      {
        name: 'overlapping windows, padding never wins',
        inputs: { x: { shape: [1, 6, 9, 3], values: 'uniform', low: -9, high: -1 } },
        run: ({ x }) => maxPool2d(x, { kernel: 3, stride: 2, padding: 1 }),
        reference: (inputs) => pool(inputs, [3, 3], [2, 2], [1, 1], (v) => Math.max(...v)),
      },
      {
        name: 'overlapping windows, channels of whole packs',
        inputs: { x: [2, 6, 5, 16] },
        run: ({ x }) => maxPool2d(x, { kernel: [2, 3], stride: [1, 2], padding: [0, 1] }),
        reference: (inputs) => pool(inputs, [2, 3], [1, 2], [0, 1], (v) => Math.max(...v)),
        reduction: 4,
      },
      {
        name: 'a NaN in a window',
        inputs: { x: { shape: [1, 2, 4, 1], values: [1, 2, 3, 4, 5, NaN, 7, 8] } },
        run: ({ x }) => maxPool2d(x, { kernel: 2 }),
        reference: () => [NaN, 8],
        grad: false,
      },
      {
        name: 'no batch',
        inputs: { x: [0, 4, 4, 3] },
        run: ({ x }) => maxPool2d(x, { kernel: 2 }),
        reference: () => [],
      },
      {
        name: '64 x 64, 128 channels',
        inputs: { x: [4, 64, 64, 128] },
        run: ({ x }) => maxPool2d(x, { kernel: 2 }),
        bytes: 4 * 64 * 64 * 128 * 4 * 1.5,
        bench: 'only',
      },
    ],
    errors: errorsOf('maxPool2d', maxPool2d),
  },
] satisfies OpCases[];
