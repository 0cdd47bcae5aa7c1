import { add, batchNorm, ones } from '../../lib/index.js';
import { average, nd, total, type NdArray } from '../support/oracle.js';
import type { InputArrays, InputSpec, OpCases } from './cases.js';

interface Settings {
  training: boolean;
  momentum?: number;
  eps?: number;
}

/** y and the running statistics after the call. */
function definition(
  inputs: InputArrays,
  { training, momentum = 0.1, eps = 1e-5 }: Settings,
): NdArray[] {
  const { x, weight, bias, runningMean, runningVar } = inputs;
  const channels = x.shape[x.shape.length - 1];
  const rows = x.data.length / channels;
  const y = new Float64Array(x.data.length);
  const means = Float64Array.from(runningMean.data);
  const variances = Float64Array.from(runningVar.data);
  for (let c = 0; c < channels; c++) {
    const values = Array.from({ length: rows }, (_, row) => x.data[row * channels + c]);
    let mean = means[c];
    let variance = variances[c];
    if (training) {
      mean = average(values);
      const squares = total(values.map((v) => (v - mean) ** 2));
      variance = squares / rows;
      means[c] += momentum * (mean - means[c]);
      variances[c] += momentum * (squares / (rows - 1) - variances[c]);
    }
    values.forEach((v, row) => {
      const normal = (v - mean) / Math.sqrt(variance + eps);
      y[row * channels + c] = normal * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0);
    });
  }
  return [nd(y, x.shape), nd(means, [channels]), nd(variances, [channels])];
}

const running = (channels: number): Record<string, InputSpec> => ({
  runningMean: { shape: [channels], dtype: 'float32', grad: false },
  runningVar: { shape: [channels], dtype: 'float32', values: 'positive', grad: false },
});

export default {
  op: 'batchNorm',
  cases: [
    {
      name: 'training, running statistics move',
      inputs: { x: [3, 5, 7, 6], weight: [6], bias: [6], ...running(6) },
      run: ({ x, weight, bias, runningMean, runningVar }) => {
        const options = { training: true, momentum: 0.3 };
        const mean = add(runningMean, 0); // copies: the reference wants the inputs as they were
        const variance = add(runningVar, 0);
        return [batchNorm(x, weight, bias, mean, variance, options), mean, variance];
      },
      reference: (inputs) => definition(inputs, { training: true, momentum: 0.3 }),
      tolerance: 'norm',
      reduction: 105,
      grad: false, // running statistics are not part of the graph
    },
    {
      name: 'training, several chunks of rows',
      inputs: { x: [2, 17, 19, 35], weight: [35], bias: [35], ...running(35) },
      run: ({ x, weight, bias, runningMean, runningVar }) =>
        batchNorm(x, weight, bias, runningMean, runningVar, { training: true }),
      reference: (inputs) => definition(inputs, { training: true }).slice(0, 1),
      tolerance: 'norm',
      reduction: 646,
    },
    {
      name: 'evaluation',
      inputs: { x: [2, 4, 3, 6], weight: [6], bias: [6], ...running(6) },
      run: ({ x, weight, bias, runningMean, runningVar }) =>
        batchNorm(x, weight, bias, runningMean, runningVar, { training: false, eps: 1e-3 }),
      reference: (inputs) => definition(inputs, { training: false, eps: 1e-3 }).slice(0, 1),
      tolerance: 'norm',
      reduction: 24,
    },
    {
      name: 'training without parameters or running statistics',
      inputs: { x: [9, 20] },
      run: ({ x }) => batchNorm(x, null, null, null, null, { training: true }),
      reference: (inputs) => {
        const statistics = nd(new Float64Array(20), [20]);
        const all = { ...inputs, runningMean: statistics, runningVar: statistics };
        return definition(all, { training: true }).slice(0, 1);
      },
      tolerance: 'norm',
      reduction: 9,
    },
    {
      name: 'training, more channels than a block has and many chunks, a large mean',
      inputs: {
        x: { shape: [1, 131, 1032], values: 'uniform', low: 19.9, high: 20.1 },
        weight: { shape: [1032], dtype: 'float32' },
        bias: { shape: [1032], dtype: 'float32' },
        ...running(1032),
      },
      run: ({ x, weight, bias, runningMean, runningVar }) =>
        batchNorm(x, weight, bias, runningMean, runningVar, { training: true, eps: 1e-6 }),
      reference: (inputs) => definition(inputs, { training: true, eps: 1e-6 }).slice(0, 1),
      tolerance: 'norm',
      reduction: 131,
      grad: false,
      dtypes: ['float32'], // in float64 the definition's plain sums are less exact than the kernel
    },
    {
      name: 'training, slices of whole vectors',
      inputs: { x: [3, 47, 528], weight: [528], bias: [528], ...running(528) },
      run: ({ x, weight, bias, runningMean, runningVar }) =>
        batchNorm(x, weight, bias, runningMean, runningVar, { training: true }),
      reference: (inputs) => definition(inputs, { training: true }).slice(0, 1),
      tolerance: 'norm',
      reduction: 141,
    },
    {
      name: 'training, few channels at many rows',
      inputs: { x: [2, 1100, 8], weight: [8], bias: [8], ...running(8) },
      run: ({ x, weight, bias, runningMean, runningVar }) =>
        batchNorm(x, weight, bias, runningMean, runningVar, { training: true }),
      reference: (inputs) => definition(inputs, { training: true }).slice(0, 1),
      tolerance: 'norm',
      reduction: 2200,
    },
    {
      name: 'no samples',
      inputs: { x: [0, 2, 2, 6], weight: [6] },
      run: ({ x, weight }) => batchNorm(x, weight, null, null, null, { training: true }),
      reference: ({ x }) => x,
    },
    {
      name: 'discriminator, 128 channels at 64 x 64',
      inputs: { x: [4, 64, 64, 128], weight: [128], bias: [128] },
      run: ({ x, weight, bias }) => batchNorm(x, weight, bias, null, null, { training: true }),
      bench: 'only',
      bytes: 2 * 4 * 4 * 64 ** 2 * 128,
    },
  ],
  errors: [
    {
      name: 'evaluation without running statistics',
      run: () => batchNorm(ones([2, 4]), null, null, null, null, { training: false }),
      message: /batchNorm: runningMean and runningVar go together.*got neither/,
    },
    {
      name: 'one value per channel in training',
      run: () => batchNorm(ones([1, 1, 1, 4]), null, null, null, null, { training: true }),
      message: /batchNorm: training needs more than one value per channel.*\[1, 1, 1, 4\]/,
    },
    {
      name: 'a momentum above 1',
      run: () => batchNorm(ones([2, 4]), null, null, null, null, { training: true, momentum: 2 }),
      message: /batchNorm: momentum must lie in \[0, 1\], got 2/,
    },
  ],
} satisfies OpCases;
