import { groupNorm, ones } from '../../lib/index.js';
import { viewOf } from '../../lib/tensor.js';
import { at, average, generate, nd, type NdArray } from '../support/oracle.js';
import type { InputArrays, OpCases } from './cases.js';

interface Settings {
  groups: number;
  eps?: number;
  silu?: boolean;
}

/** The definition, one group at a time, over [N, pixels, C]. */
function definition(inputs: InputArrays, { groups, eps = 1e-5, silu = false }: Settings): NdArray {
  const { x, weight, bias, scale, shift } = inputs;
  const images = x.shape[0];
  const channels = x.shape[x.shape.length - 1];
  const pixels = x.data.length / (images * channels);
  const perGroup = channels / groups;
  const value = (n: number, p: number, c: number) => x.data[(n * pixels + p) * channels + c];
  const statistics = generate([images, groups, 2], () => 0);
  for (let n = 0; n < images; n++)
    for (let g = 0; g < groups; g++) {
      const values: number[] = [];
      for (let p = 0; p < pixels; p++)
        for (let c = g * perGroup; c < (g + 1) * perGroup; c++) values.push(value(n, p, c));
      const mean = average(values);
      const variance = average(values.map((v) => (v - mean) ** 2));
      statistics.data.set([mean, 1 / Math.sqrt(variance + eps)], (n * groups + g) * 2);
    }
  const flat = generate([images, pixels, channels], (n, p, c) => {
    const g = Math.floor(c / perGroup);
    const normal = (value(n, p, c) - at(statistics, n, g, 0)) * at(statistics, n, g, 1);
    let v = normal * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0);
    if (scale) v = v * (1 + at(scale, n, c)) + at(shift, n, c);
    return silu ? v / (1 + Math.exp(-v)) : v;
  });
  return { data: flat.data, shape: x.shape };
}

export default {
  op: 'groupNorm',
  cases: [
    {
      name: '7 channels per group, odd pixels, silu',
      inputs: { x: [2, 5, 3, 28], weight: [28], bias: [28] },
      run: ({ x, weight, bias }) => groupNorm(x, 4, weight, bias, { activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 4, silu: true }),
      tolerance: 'norm',
      reduction: 105,
    },
    {
      name: 'scale and shift per sample, silu',
      inputs: { x: [3, 4, 4, 42], weight: [42], bias: [42], scale: [3, 42], shift: [3, 42] },
      run: ({ x, weight, bias, scale, shift }) =>
        groupNorm(x, 2, weight, bias, { scale, shift, activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 2, silu: true }),
      tolerance: 'norm',
      reduction: 336,
    },
    {
      name: 'one channel per group, no parameters',
      inputs: { x: [2, 9, 33] },
      run: ({ x }) => groupNorm(x, 33, null, null, { eps: 1e-6 }),
      reference: (inputs) => definition(inputs, { groups: 33, eps: 1e-6 }),
      tolerance: 'norm',
      reduction: 9,
    },
    {
      name: 'one group, no pixels but one, weight only',
      inputs: { x: [4, 6], weight: [6] },
      run: ({ x, weight }) => groupNorm(x, 1, weight),
      reference: (inputs) => definition(inputs, { groups: 1 }),
      tolerance: 'norm',
      reduction: 6,
    },
    {
      name: 'several chunks of pixels',
      inputs: { x: [1, 37, 23, 24], weight: [24], bias: [24] },
      run: ({ x, weight, bias }) => groupNorm(x, 8, weight, bias),
      reference: (inputs) => definition(inputs, { groups: 8 }),
      tolerance: 'norm',
      reduction: 2553,
    },
    {
      name: 'a mean of 40 about a deviation of 0.05',
      inputs: { x: { shape: [1, 20, 20, 32], values: 'uniform', low: 39.9, high: 40.1 } },
      run: ({ x }) => groupNorm(x, 8, null, null, { eps: 1e-6 }),
      reference: (inputs) => definition(inputs, { groups: 8, eps: 1e-6 }),
      tolerance: 'norm',
      reduction: 1600,
      grad: false,
      dtypes: ['float32'], // in float64 the definition's plain sums are less exact than the kernel
    },
    {
      name: 'first pixels that no other is like',
      inputs: {
        x: {
          shape: [1, 12, 12, 64],
          values: Array.from(
            { length: 12 * 12 * 64 },
            (_, i) => Math.sin(13 * i) + (i < 256 ? 50 : 0),
          ),
        },
      },
      run: ({ x }) => groupNorm(x, 8, null, null, { eps: 1e-6 }),
      reference: (inputs) => definition(inputs, { groups: 8, eps: 1e-6 }),
      tolerance: 'norm',
      reduction: 1152,
    },
    {
      name: 'float32 parameters beside a 16-bit x',
      inputs: {
        x: [2, 4, 4, 64],
        weight: { shape: [64], dtype: 'float32' },
        bias: { shape: [64], dtype: 'float32' },
      },
      run: ({ x, weight, bias }) => groupNorm(x, 32, weight, bias, { activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 32, silu: true }),
      tolerance: 'norm',
      reduction: 32,
    },
    {
      name: '35 channels per group, which cut vectors, more than one block holds',
      inputs: { x: [1, 14, 14, 560], weight: [560], bias: [560] },
      run: ({ x, weight, bias }) => groupNorm(x, 16, weight, bias, { activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 16, silu: true }),
      tolerance: 'norm',
      reduction: 6860,
    },
    {
      name: 'batches of such images, of one and two, the last one short',
      inputs: { x: [3, 14, 14, 560], weight: [560], bias: [560], scale: [3, 560], shift: [3, 560] },
      run: ({ x, weight, bias, scale, shift }) =>
        groupNorm(x, 16, weight, bias, { scale, shift, activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 16, silu: true }),
      tolerance: 'norm',
      reduction: 6860,
    },
    {
      name: 'an odd number of channels at many pixels, scale and shift',
      inputs: { x: [1, 50, 31, 33], weight: [33], bias: [33], scale: [1, 33], shift: [1, 33] },
      run: ({ x, weight, bias, scale, shift }) =>
        groupNorm(x, 3, weight, bias, { scale, shift, activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 3, silu: true }),
      tolerance: 'norm',
      reduction: 17050,
    },
    {
      name: 'one group of many channels',
      inputs: { x: [2, 3, 2056], weight: [2056], bias: [2056] },
      run: ({ x, weight, bias }) => groupNorm(x, 1, weight, bias),
      reference: (inputs) => definition(inputs, { groups: 1 }),
      tolerance: 'norm',
      reduction: 6168,
    },
    {
      name: 'several slices of groups, the last one shorter',
      inputs: { x: [2, 6, 3, 80], weight: [80], bias: [80], scale: [2, 80], shift: [2, 80] },
      run: ({ x, weight, bias, scale, shift }) =>
        groupNorm(x, 4, weight, bias, { scale, shift, activation: 'silu' }),
      reference: (inputs) => definition(inputs, { groups: 4, silu: true }),
      tolerance: 'norm',
      reduction: 360,
    },
    {
      name: 'a view that begins between vectors',
      inputs: { x: [1 + 2 * 15 * 8], weight: [8] },
      run: ({ x, weight }) => groupNorm(viewOf(x, [2, 15, 8], 1), 2, weight),
      reference: ({ x, weight }) =>
        definition({ x: nd(x.data.slice(1), [2, 15, 8]), weight }, { groups: 2 }),
      tolerance: 'norm',
      reduction: 60,
      grad: false,
    },
    {
      name: 'no samples',
      inputs: { x: [0, 4, 4, 8], weight: [8] },
      run: ({ x, weight }) => groupNorm(x, 4, weight),
      reference: ({ x }) => x,
    },
    {
      name: 'no pixels',
      inputs: { x: [2, 0, 4, 8], weight: [8] },
      run: ({ x, weight }) => groupNorm(x, 4, weight),
      reference: ({ x }) => x,
    },
    {
      name: 'autoencoder, 128 channels at 128 x 128',
      inputs: { x: [4, 128, 128, 128], weight: [128], bias: [128] },
      run: ({ x, weight, bias }) => groupNorm(x, 32, weight, bias, { activation: 'silu' }),
      bench: 'only',
      bytes: 2 * 4 * 4 * 128 ** 3,
    },
    {
      name: 'U-Net, 224 channels at 64 x 64',
      inputs: { x: [2, 64, 64, 224], weight: [224], bias: [224] },
      run: ({ x, weight, bias }) => groupNorm(x, 32, weight, bias, { activation: 'silu' }),
      bench: 'only',
      bytes: 2 * 4 * 2 * 64 ** 2 * 224,
    },
  ],
  errors: [
    {
      name: 'groups that do not divide the channels',
      run: () => groupNorm(ones([1, 8, 8, 30]), 32),
      message: /groupNorm: channels \(30\) must be divisible by groups \(32\).*\[1, 8, 8, 30\]/,
    },
    {
      name: 'a weight of another length',
      run: () => groupNorm(ones([1, 4, 32]), 32, ones([31])),
      message: /groupNorm: weight must have shape \[32\].*got \[31\]/,
    },
    {
      name: 'scale without shift',
      run: () => groupNorm(ones([1, 4, 32]), 32, null, null, { scale: ones([1, 32]) }),
      message: /groupNorm: scale and shift go together; got only scale/,
    },
    {
      name: 'no groups',
      run: () => groupNorm(ones([1, 4, 32]), 0),
      message: /groupNorm: groups must be an integer > 0, got 0/,
    },
    {
      name: 'an unknown activation',
      run: () => groupNorm(ones([1, 4, 32]), 32, null, null, { activation: 'relu' as 'silu' }),
      message: /groupNorm: activation must be 'silu' or undefined, got relu/,
    },
  ],
} satisfies OpCases;
