import { crossEntropy, ones, tensor, type CrossEntropyOptions } from '../../lib/index.js';
import { nd, total, type NdArray } from '../support/oracle.js';
import type { InputArrays, InputSpec, OpCases } from './cases.js';

function definition({ logits, target }: InputArrays, options: CrossEntropyOptions = {}): NdArray {
  const { ignoreIndex = -100, labelSmoothing = 0, reduction = 'mean' } = options;
  const classes = logits.shape[logits.shape.length - 1];
  let valid = 0;
  const losses = Array.from(target.data, (index, row) => {
    if (index === ignoreIndex) return 0;
    valid++;
    const x = [...logits.data.subarray(row * classes, (row + 1) * classes)];
    const top = Math.max(...x);
    const logSum = top + Math.log(total(x.map((v) => Math.exp(v - top))));
    const smooth = labelSmoothing === 0 ? 0 : (labelSmoothing / classes) * total(x);
    return logSum - (1 - labelSmoothing) * x[index] - smooth;
  });
  if (reduction === 'none') return nd(losses, target.shape);
  return nd([total(losses) / (reduction === 'mean' ? valid : 1)], []);
}

const targets = (
  shape: number[],
  values: number[],
  dtype: 'int32' | 'int64' = 'int64',
): InputSpec => ({
  shape,
  dtype,
  values,
});

export default {
  op: 'crossEntropy',
  cases: [
    {
      name: 'images, mean',
      inputs: {
        logits: [2, 2, 3, 19],
        target: { shape: [2, 2, 3], dtype: 'int64', low: 0, high: 19 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target),
      reference: (inputs) => definition(inputs),
      reduction: 19,
    },
    {
      name: 'ignored positions, sum, int32',
      inputs: { logits: [6, 5], target: targets([6], [0, 7, 4, 7, 2, 1], 'int32') },
      run: ({ logits, target }) =>
        crossEntropy(logits, target, { ignoreIndex: 7, reduction: 'sum' }),
      reference: (inputs) => definition(inputs, { ignoreIndex: 7, reduction: 'sum' }),
      reduction: 5,
    },
    {
      name: 'label smoothing, ignored positions, mean',
      inputs: { logits: [5, 33], target: targets([5], [0, -100, 32, 16, 7]) },
      run: ({ logits, target }) => crossEntropy(logits, target, { labelSmoothing: 0.1 }),
      reference: (inputs) => definition(inputs, { labelSmoothing: 0.1 }),
      reduction: 33,
    },
    {
      name: 'no reduction',
      inputs: { logits: [3, 2, 4], target: targets([3, 2], [0, 1, 2, 3, -100, 0]) },
      run: ({ logits, target }) =>
        crossEntropy(logits, target, { reduction: 'none', labelSmoothing: 0.2 }),
      reference: (inputs) => definition(inputs, { reduction: 'none', labelSmoothing: 0.2 }),
      reduction: 4,
    },
    {
      name: 'four threads per row, vectors',
      inputs: {
        logits: [131, 24],
        target: { shape: [131], dtype: 'int64', low: 0, high: 24 },
      },
      run: ({ logits, target }) =>
        crossEntropy(logits, target, { labelSmoothing: 0.1, reduction: 'sum' }),
      reference: (inputs) => definition(inputs, { labelSmoothing: 0.1, reduction: 'sum' }),
      reduction: 24,
    },
    {
      name: 'a warp per row, vectors',
      inputs: {
        logits: [21, 264],
        target: { shape: [21], dtype: 'int64', low: 0, high: 264 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target, { labelSmoothing: 0.05 }),
      reference: (inputs) => definition(inputs, { labelSmoothing: 0.05 }),
      reduction: 264,
    },
    {
      name: 'a warp per row, odd',
      inputs: {
        logits: [13, 301],
        target: { shape: [13], dtype: 'int64', low: 0, high: 301 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target),
      reference: (inputs) => definition(inputs),
      reduction: 301,
    },
    {
      name: 'a block per row, vectors',
      inputs: {
        logits: [3, 2056],
        target: { shape: [3], dtype: 'int64', low: 0, high: 2056 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target, { reduction: 'none' }),
      reference: (inputs) => definition(inputs, { reduction: 'none' }),
      reduction: 2056,
    },
    {
      name: 'a block per row, odd',
      inputs: {
        logits: [2, 2501],
        target: { shape: [2], dtype: 'int64', low: 0, high: 2501 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target, { labelSmoothing: 0.3 }),
      reference: (inputs) => definition(inputs, { labelSmoothing: 0.3 }),
      reduction: 2501,
    },
    {
      name: 'more rows than bands',
      inputs: {
        logits: [2600, 5],
        target: { shape: [2600], dtype: 'int64', low: 0, high: 5 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target),
      reference: (inputs) => definition(inputs),
      reduction: 5,
    },
    {
      name: 'one row, one class',
      inputs: { logits: [1], target: targets([], [0]) },
      run: ({ logits, target }) => crossEntropy(logits, target),
      reference: () => nd([0], []),
    },
    {
      name: 'large logits and a masked class',
      inputs: {
        logits: { shape: [2, 3], values: [1000, -1000, 0, 2, -Infinity, 1], grad: false },
        target: targets([2], [2, 0]),
      },
      run: ({ logits, target }) => crossEntropy(logits, target, { reduction: 'none' }),
      reference: (inputs) => definition(inputs, { reduction: 'none' }),
    },
    {
      name: 'everything ignored: the mean of nothing is NaN',
      inputs: { logits: { shape: [2, 3], grad: false }, target: targets([2], [-100, -100]) },
      run: ({ logits, target }) => crossEntropy(logits, target),
      reference: () => nd([NaN], []),
    },
    {
      name: 'no rows',
      inputs: { logits: [0, 3], target: targets([0], []) },
      run: ({ logits, target }) => crossEntropy(logits, target, { reduction: 'sum' }),
      reference: () => nd([0], []),
    },
    {
      name: 'a thousand classes',
      inputs: {
        logits: [4096, 1000],
        target: { shape: [4096], dtype: 'int64', low: 0, high: 1000 },
      },
      run: ({ logits, target }) => crossEntropy(logits, target),
      bench: 'only',
      bytes: 4 * 4096 * 1000,
    },
  ],
  errors: [
    {
      name: 'a target outside the classes, found while running',
      run: () => crossEntropy(ones([2, 3]), tensor([1, 3], { dtype: 'int64' })),
      message:
        /crossEntropy: target must be in \[0, 3\) or ignoreIndex \(-100\)\. Got 3 at position 1/,
    },
    {
      name: 'a target of the wrong shape',
      run: () => crossEntropy(ones([2, 5, 3]), tensor([1, 2], { dtype: 'int64' })),
      message: /crossEntropy: target must have the shape of logits.*\[2, 5, 3\] and target \[2\]/,
    },
    {
      name: 'a floating target',
      run: () => crossEntropy(ones([2, 3]), ones([2])),
      message: /crossEntropy: target must be int64 or int32/,
    },
    {
      name: 'too much smoothing',
      run: () =>
        crossEntropy(ones([2, 3]), tensor([1, 2], { dtype: 'int64' }), { labelSmoothing: 1.5 }),
      message: /crossEntropy: labelSmoothing must lie in \[0, 1\], got 1.5/,
    },
  ],
} satisfies OpCases;
