import { layerNorm, ones } from '../../lib/index.js';
import { average, nd, type NdArray } from '../support/oracle.js';
import type { InputArrays, OpCases } from './cases.js';

function definition({ x, weight, bias }: InputArrays, eps = 1e-5): NdArray {
  const channels = x.shape[x.shape.length - 1];
  const y: number[] = [];
  for (let from = 0; from < x.data.length; from += channels) {
    const row = [...x.data.subarray(from, from + channels)];
    const mean = average(row);
    const rstd = 1 / Math.sqrt(average(row.map((v) => (v - mean) ** 2)) + eps);
    row.forEach((v, c) =>
      y.push((v - mean) * rstd * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0)),
    );
  }
  return nd(y, x.shape);
}

export default {
  op: 'layerNorm',
  cases: [
    {
      name: 'odd length',
      inputs: { x: [3, 5, 37], weight: [37], bias: [37] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 37,
    },
    {
      name: 'shorter than a vector, no parameters',
      inputs: { x: [6, 5] },
      run: ({ x }) => layerNorm(x, null, null, { eps: 1e-6 }),
      reference: (inputs) => definition(inputs, 1e-6),
      tolerance: 'norm',
      reduction: 5,
    },
    {
      name: 'one row',
      inputs: { x: [64], weight: [64] },
      run: ({ x, weight }) => layerNorm(x, weight),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 64,
    },
    {
      name: 'several chunks of rows, float32 parameters',
      inputs: {
        x: [2, 300, 20],
        weight: { shape: [20], dtype: 'float32' },
        bias: { shape: [20], dtype: 'float32' },
      },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 600,
    },
    {
      name: 'a large mean',
      inputs: { x: { shape: [4, 320], values: 'uniform', low: 39.9, high: 40.1 } },
      run: ({ x }) => layerNorm(x, null, null, { eps: 1e-6 }),
      reference: (inputs) => definition(inputs, 1e-6),
      tolerance: 'norm',
      reduction: 320,
      grad: false,
      dtypes: ['float32'], // in float64 the definition's plain sums are less exact than the kernel
    },
    {
      name: 'a warp per row, two vectors',
      inputs: { x: [9, 264], weight: [264], bias: [264] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 264,
    },
    {
      name: 'a warp per row, three vectors',
      inputs: { x: [21, 640], weight: [640], bias: [640] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 640,
    },
    {
      name: 'a warp per row, five vectors',
      inputs: { x: [10, 1280], weight: [1280], bias: [1280] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 1280,
    },
    {
      name: 'a block per row',
      inputs: { x: [9, 2000], weight: [2000], bias: [2000] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 2000,
    },
    {
      name: 'odd, a warp per row',
      inputs: { x: [11, 201], weight: [201], bias: [201] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 201,
    },
    {
      name: 'odd, a block per row',
      inputs: { x: [10, 1001], weight: [1001], bias: [1001] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 1001,
    },
    {
      name: 'longer than registers hold',
      inputs: { x: [10, 5000], weight: [5000], bias: [5000] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 5000,
    },
    {
      name: 'longer than registers hold, odd',
      inputs: { x: [3, 4101], weight: [4101], bias: [4101] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 4101,
    },
    {
      name: 'past small caches',
      inputs: { x: [70, 960], weight: [960], bias: [960] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: (inputs) => definition(inputs),
      tolerance: 'norm',
      reduction: 960,
      large: true,
    },
    {
      name: 'no rows',
      inputs: { x: [0, 7], weight: [7], bias: [7] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      reference: ({ x }) => x,
    },
    {
      name: 'transformer, 4096 tokens of 320',
      inputs: { x: [4, 4096, 320], weight: [320], bias: [320] },
      run: ({ x, weight, bias }) => layerNorm(x, weight, bias),
      bench: 'only',
      bytes: 2 * 4 * 4 * 4096 * 320,
    },
  ],
  errors: [
    {
      name: 'a bias of another length',
      run: () => layerNorm(ones([2, 8]), null, ones([2, 8])),
      message: /layerNorm: bias must have shape \[8\] for x of shape \[2, 8\], got \[2, 8\]/,
    },
    {
      name: 'a scalar',
      run: () => layerNorm(ones([])),
      message: /layerNorm: x must be \[\.\.\., C\] with C > 0, got shape \[\]/,
    },
    {
      name: 'a negative eps',
      run: () => layerNorm(ones([2, 8]), null, null, { eps: -1 }),
      message: /layerNorm: eps must be a number >= 0, got -1/,
    },
  ],
} satisfies OpCases;
