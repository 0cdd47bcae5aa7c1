import { linear, ones, type FusedActivation } from '../../lib/index.js';
import { viewOf } from '../../lib/tensor.js';
import { generate, type NdArray } from '../support/oracle.js';
import type { InputArrays, OpCase, OpCases } from './cases.js';

// The normal distribution function by its series: exact enough for |x| < 8, where the cases stay.
function normalCdf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (x * x) / (2 * n + 1);
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

const gelu = (x: number): number => x * normalCdf(x);
const pointwise = { none: (x: number) => x, silu: (x: number) => x / (1 + Math.exp(-x)), gelu };

function reference(
  { x, weight, bias, residual }: InputArrays,
  activation?: FusedActivation,
): NdArray {
  const [K, C] = weight.shape;
  const width = activation === 'geglu' ? K / 2 : K;
  const argument = (row: number, k: number): number => {
    let sum = bias?.data[k] ?? 0;
    for (let c = 0; c < C; c++) sum += x.data[row * C + c] * weight.data[k * C + c];
    return sum;
  };
  let next = 0;
  return generate([...x.shape.slice(0, -1), width], () => {
    const flat = next++;
    const [row, k] = [Math.floor(flat / width), flat % width];
    const value =
      activation === 'geglu'
        ? argument(row, k) * gelu(argument(row, k + width))
        : pointwise[activation ?? 'none'](argument(row, k));
    return value + (residual?.data[flat] ?? 0);
  });
}

// Everything at once: bias, activation, residual.
const fused = (
  name: string,
  lead: number[],
  C: number,
  K: number,
  activation?: FusedActivation,
): OpCase => ({
  name,
  inputs: {
    x: [...lead, C],
    weight: { shape: [K, C], values: 'uniform', low: -1 / Math.sqrt(C), high: 1 / Math.sqrt(C) },
    bias: [K],
    residual: [...lead, activation === 'geglu' ? K / 2 : K],
  },
  run: ({ x, weight, bias, residual }) => linear(x, weight, bias, { activation, residual }),
  reference: (inputs) => reference(inputs, activation),
  tolerance: 'matmul',
  reduction: Math.max(
    C,
    lead.reduce((product, extent) => product * extent, 1),
  ),
});

const timed = (rows: number, C: number, K: number, activation?: FusedActivation): OpCase => ({
  name: `${rows} rows, ${C} to ${K}${activation ? `, ${activation}` : ''}`,
  inputs: { x: [rows, C], weight: [K, C], bias: [K] },
  run: ({ x, weight, bias }) => linear(x, weight, bias, { activation }),
  tolerance: 'matmul',
  reduction: C,
  bench: 'only',
  flops: 2 * rows * C * K,
});

export default {
  op: 'linear',
  cases: [
    fused('one row', [1], 37, 70, 'silu'),
    fused('bias and residual, over whole and cut tiles', [9, 5], 40, 80),
    fused('bias and residual after several blocks of the reduction', [9, 5], 400, 80),
    fused('geglu of whole tiles', [9, 5], 40, 64, 'geglu'),
    fused('four rows, geglu', [2, 2], 20, 66, 'geglu'),
    fused('plain', [2, 3], 10, 17),
    fused('silu', [9], 20, 33, 'silu'),
    fused('gelu', [2, 2, 3], 12, 16, 'gelu'),
    fused('geglu, odd half', [3, 4], 11, 14, 'geglu'),
    fused('geglu, many rows', [110], 24, 64, 'geglu'),
    fused('few rows, wide', [2], 100, 200, 'silu'),
    fused('fewer rows than outputs', [110], 24, 230, 'gelu'),
    fused('more rows than the turned form takes', [101], 40, 20, 'gelu'),
    fused('no leading axis', [], 5, 6, 'silu'),
    // A GPU's tiles, with rests.
    fused('wide tiles, gelu', [2, 252], 104, 120, 'gelu'),
    fused('narrower tiles', [504], 40, 104),
    fused('narrow tiles, silu', [504], 72, 88, 'silu'),
    fused('wide tiles, geglu', [504], 72, 232, 'geglu'),
    fused('narrower tiles, geglu of an odd half', [504], 40, 202, 'geglu'),
    fused('wide tiles of a split depth, geglu', [136], 1032, 248, 'geglu'),
    fused('a split depth, geglu', [12], 640, 48, 'geglu'),
    fused('a deep row, geglu', [1], 640, 24, 'geglu'),
    // Results that do not come in whole 16 bytes, or do not begin there.
    fused('wide tiles, rows of whole fours, gelu', [504], 72, 228, 'gelu'),
    fused('a split depth, odd rows, silu', [12], 640, 45, 'silu'),
    {
      name: 'bias and residual between whole vectors',
      inputs: {
        x: [136, 72],
        weight: [232, 72],
        bias: { shape: [1 + 232], grad: false },
        residual: { shape: [1 + 136 * 232], grad: false },
      },
      run: ({ x, weight, bias, residual }) =>
        linear(x, weight, viewOf(bias, [232], 1), {
          activation: 'silu',
          residual: viewOf(residual, [136, 232], 1),
        }),
      tolerance: 'matmul',
      reduction: 232,
    },
    {
      name: 'without bias',
      inputs: { x: [4, 7], weight: [3, 7] },
      run: ({ x, weight }) => linear(x, weight),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 7,
    },
    {
      name: 'no rows',
      inputs: { x: [0, 7], weight: [3, 7] },
      run: ({ x, weight }) => linear(x, weight),
      reference: () => ({ data: new Float64Array(0), shape: [0, 3] }),
      grad: false,
    },
    timed(16, 512, 512, 'silu'),
    timed(1024, 256, 256),
    timed(1024, 256, 2048, 'geglu'),
    timed(4096, 128, 128, 'gelu'),
  ],
  errors: [
    {
      name: 'channels do not fit',
      run: () => linear(ones([2, 5]), ones([3, 4])),
      message:
        /linear: the last axis of x must be the weight's input channels \(4\)\. Got x \[2, 5\]/,
    },
    {
      name: 'weight is no matrix',
      run: () => linear(ones([2, 5]), ones([3, 5, 1])),
      message: /linear: weight must have 2 dimensions, got shape \[3, 5, 1\]/,
    },
    {
      name: 'bias of the inputs',
      run: () => linear(ones([2, 5]), ones([3, 5]), ones([5])),
      message: /linear: bias must have shape \[3\]/,
    },
    {
      name: 'geglu of an odd number',
      run: () => linear(ones([2, 5]), ones([3, 5]), null, { activation: 'geglu' }),
      message: /linear: geglu halves the outputs, so their number \(3\) must be even/,
    },
    {
      name: 'unknown activation',
      run: () => linear(ones([2, 5]), ones([3, 5]), null, { activation: 'relu' as never }),
      message: /linear: activation must be one of silu, gelu, geglu; got 'relu'/,
    },
    {
      name: 'residual of another shape',
      run: () => linear(ones([2, 5]), ones([3, 5]), null, { residual: ones([1, 3]) }),
      message: /linear: residual must have the result's shape \[2, 3\], got \[1, 3\]/,
    },
  ],
} satisfies OpCases;
