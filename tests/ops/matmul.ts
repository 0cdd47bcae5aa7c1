import { matmul, ones } from '../../lib/index.js';
import { matmul as product, nd, permute, total, type NdArray } from '../support/oracle.js';
import type { OpCases } from './cases.js';

const turned = (x: NdArray): NdArray => {
  const axes = x.shape.map((_, axis) => axis);
  return permute(x, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!]);
};

// One product through all four ways to store its operands.
const transposes = (
  rows: number,
  depth: number,
  columns: number,
  options: { batch?: number[]; brief?: true } = {},
): OpCases['cases'] =>
  [0, 1, 2, 3].map((way) => {
    const [transposeA, transposeB] = [way % 2 === 1, way >= 2];
    const { batch = [], brief } = options; // brief: against the float64 engine, without gradients
    return {
      name: `${[...batch, rows].join('x')}x${depth}x${columns}${transposeA ? ', a transposed' : ''}${transposeB ? ', b transposed' : ''}`,
      inputs: {
        a: [...batch, ...(transposeA ? [depth, rows] : [rows, depth])],
        b: transposeB ? [columns, depth] : [depth, columns],
      },
      grad: !brief,
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: brief
        ? undefined
        : ({ a, b }) => product(transposeA ? turned(a) : a, transposeB ? turned(b) : b),
      tolerance: 'matmul',
      reduction: depth,
    };
  });

const square = (size: number): OpCases['cases'][number] => ({
  name: `${size}x${size}x${size}`,
  inputs: { a: [size, size], b: [size, size] },
  run: ({ a, b }) => matmul(a, b),
  tolerance: 'matmul',
  reduction: size,
  bench: 'only',
  flops: 2 * size ** 3,
});

export default {
  op: 'matmul',
  cases: [
    ...transposes(7, 19, 35),
    ...transposes(30, 300, 17),
    ...transposes(15, 700, 33), // deep: the gradient of weights
    ...transposes(1, 300, 37), // one row: B read in place
    ...transposes(20, 530, 48),
    ...transposes(37, 3, 53), // shallow: rows written at once
    ...transposes(7, 190, 261), // few rows and a large B, which is read in place
    ...transposes(67, 150, 301, { brief: true }),
    ...transposes(290, 1100, 530, { brief: true }), // a CPU's tall parts, for long reductions
    // Rows that lie so far apart that a cache keeps them in one of its sets.
    ...transposes(1024, 30, 40, { brief: true }),
    ...transposes(30, 1024, 170, { brief: true }),
    ...transposes(513, 40, 1024, { brief: true }),
    // A GPU's tiles: wide ones with a rest, more bands than one, the depth split, few rows or columns.
    ...transposes(504, 136, 120, { batch: [2], brief: true }),
    ...transposes(504, 104, 104, { brief: true }),
    ...transposes(504, 104, 88, { brief: true }),
    ...transposes(1104, 24, 104, { brief: true }),
    // Hopper's: 256 columns and 128, tiles that a block does one after the other, batches, splits.
    ...transposes(504, 72, 232, { brief: true }),
    ...transposes(360, 88, 200, { batch: [3], brief: true }),
    ...transposes(264, 136, 520, { brief: true }),
    ...transposes(136, 1032, 248, { brief: true }),
    ...transposes(120, 1048, 104, { brief: true }),
    ...transposes(24, 640, 40),
    ...transposes(3, 528, 72),
    ...transposes(70, 40, 2),
    {
      name: 'a depth that is summed in parts',
      inputs: { a: [540000, 8], b: [540000, 1] },
      run: ({ a, b }) => matmul(a, b, { transposeA: true }),
      tolerance: 'matmul',
      reduction: 540000,
      dtypes: ['bfloat16'],
      grad: false,
      large: true,
    },
    {
      name: 'one by one',
      inputs: { a: [1, 1], b: [1, 1] },
      run: ({ a, b }) => matmul(a, b),
      reference: ({ a, b }) => product(a, b),
      tolerance: 'matmul',
    },
    {
      name: 'batch axes broadcast both ways',
      inputs: { a: [2, 1, 5, 6], b: [3, 6, 4] },
      run: ({ a, b }) => matmul(a, b),
      reference: ({ a, b }) => product(a, b),
      tolerance: 'matmul',
      reduction: 18,
    },
    {
      name: 'one matrix for all batches',
      inputs: { a: [2, 3, 5, 8], b: [9, 8] },
      run: ({ a, b }) => matmul(a, b, { transposeB: true }),
      reference: ({ a, b }) => product(a, turned(b)),
      tolerance: 'matmul',
      reduction: 30,
    },
    {
      name: 'batched with both transposed',
      inputs: { a: [3, 6, 20], b: [3, 33, 6] },
      run: ({ a, b }) => matmul(a, b, { transposeA: true, transposeB: true }),
      reference: ({ a, b }) => product(turned(a), turned(b)),
      tolerance: 'matmul',
      reduction: 33,
    },
    {
      name: 'row times matrix',
      inputs: { a: [6], b: [2, 6, 5] },
      run: ({ a, b }) => matmul(a, b),
      reference: ({ a, b }) => {
        const y = product({ data: a.data, shape: [1, 6] }, b);
        return { data: y.data, shape: [2, 5] };
      },
      tolerance: 'matmul',
      reduction: 10,
    },
    {
      name: 'inner product',
      inputs: { a: [40], b: [40] },
      run: ({ a, b }) => matmul(a, b),
      reference: ({ a, b }) => nd([total([...a.data].map((x, i) => x * b.data[i]))], []),
      tolerance: 'matmul',
      reduction: 40,
    },
    {
      name: 'nothing to sum gives zeros',
      inputs: { a: [40, 0], b: [0, 37] }, // columns that no whole vector holds
      run: ({ a, b }) => matmul(a, b),
      reference: () => ({ data: new Float64Array(40 * 37), shape: [40, 37] }),
      grad: false,
    },
    {
      name: 'no rows',
      inputs: { a: [2, 0, 3], b: [2, 3, 4] },
      run: ({ a, b }) => matmul(a, b),
      reference: () => ({ data: new Float64Array(0), shape: [2, 0, 4] }),
      grad: false,
    },
    {
      name: 'NaN and infinity stay in their rows and columns',
      inputs: {
        a: { shape: [3, 2], values: [1, 2, NaN, 1, 3, -1] },
        b: { shape: [2, 3], values: [1, Infinity, 2, 4, 5, 6] },
      },
      run: ({ a, b }) => matmul(a, b),
      reference: ({ a, b }) => product(a, b),
      tolerance: 'matmul',
      grad: false,
    },
    square(256),
    square(1024),
    {
      name: 'heads: 128 x (64x32)(32x64)',
      inputs: { a: [128, 64, 32], b: [128, 64, 32] },
      run: ({ a, b }) => matmul(a, b, { transposeB: true }),
      tolerance: 'matmul',
      reduction: 32,
      bench: 'only',
      flops: 2 * 128 * 64 * 32 * 64,
    },
  ],
  errors: [
    {
      name: 'inner extents differ',
      run: () => matmul(ones([2, 3]), ones([4, 5])),
      message:
        /matmul: columns of a \(3\) must equal rows of b \(4\)\. Got a \[2, 3\] and b \[4, 5\]/,
    },
    {
      name: 'inner extents differ after a transpose',
      run: () => matmul(ones([2, 3]), ones([3, 5]), { transposeA: true }),
      message: /columns of a \(2\) must equal rows of b \(3\)\. Got a \[2, 3\] transposed/,
    },
    {
      name: 'batch axes do not broadcast',
      run: () => matmul(ones([2, 3, 4]), ones([3, 4, 5])),
      message: /matmul: batch axes must be equal or 1 to broadcast/,
    },
    {
      name: 'a scalar is no matrix',
      run: () => matmul(ones([]), ones([3])),
      message: /matmul: a and b must have one axis or more/,
    },
    {
      name: 'dtypes differ',
      run: () => matmul(ones([2, 2]), ones([2, 2], { dtype: 'float64' })),
      message: /matmul: a is float32 but b is float64/,
    },
    {
      name: 'integers',
      run: () => matmul(ones([2, 2], { dtype: 'int32' }), ones([2, 2], { dtype: 'int32' })),
      message: /matmul: a must have a floating dtype/,
    },
  ],
} satisfies OpCases;
