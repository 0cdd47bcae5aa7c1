import { attention, zeros } from '../../lib/index.js';
import type { InputArrays, OpCase, OpCases } from './cases.js';
import { at, generate, total, type NdArray } from '../support/oracle.js';

/** softmax(scale · q kᵀ) v, one query at a time; masked scores are the most negative float. */
function reference({ q, k, v, mask }: InputArrays, scale = 1 / Math.sqrt(q.shape[3])): NdArray {
  const [N, T, K, D] = q.shape;
  const keys = Array.from({ length: k.shape[1] }, (_, s) => s);
  const y = generate(q.shape, () => 0);
  for (let n = 0; n < N; n++)
    for (let t = 0; t < T; t++)
      for (let head = 0; head < K; head++) {
        const scores = keys.map((s) => {
          if (mask && at(mask, n, s) === 0) return -3.4028234663852886e38;
          let dot = 0;
          for (let d = 0; d < D; d++) dot += at(q, n, t, head, d) * at(k, n, s, head, d);
          return dot * scale;
        });
        const peak = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - peak));
        const sum = total(weights);
        for (let d = 0; d < D; d++)
          y.data[((n * T + t) * K + head) * D + d] =
            total(weights.map((weight, s) => weight * at(v, n, s, head, d))) / sum;
      }
  return y;
}

const sequence = (N: number, T: number, S: number, K: number, D: number) => ({
  q: [N, T, K, D],
  k: [N, S, K, D],
  v: [N, S, K, D],
});

/** Forward products of queries, keys and values. */
const flops = (N: number, T: number, S: number, K: number, D: number) => 4 * N * T * S * K * D;

export default {
  op: 'attention',
  cases: [
    {
      name: 'several blocks of keys and queries, three heads of 24',
      inputs: sequence(2, 135, 70, 3, 24),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 135,
    },
    {
      name: 'cross attention on 77 keys, own scale',
      inputs: sequence(1, 9, 77, 2, 40),
      run: ({ q, k, v }) => attention(q, k, v, { scale: 0.1 }),
      reference: (inputs) => reference(inputs, 0.1),
      tolerance: 'matmul',
      reduction: 77,
    },
    {
      name: 'one key, one query, heads of one',
      inputs: sequence(2, 1, 1, 3, 1),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: ({ v }) => v,
      tolerance: 'matmul',
    },
    {
      name: 'odd head size',
      inputs: sequence(1, 33, 19, 2, 7),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 33,
    },
    {
      name: 'one wide head',
      inputs: sequence(1, 6, 11, 1, 515),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 515,
    },
    {
      name: 'keys masked at random',
      inputs: { ...sequence(3, 10, 90, 2, 16), mask: { shape: [3, 90], dtype: 'bool' } },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 90,
    },
    {
      name: 'an entry with every key masked gets uniform weights',
      inputs: {
        ...sequence(2, 3, 4, 2, 8),
        mask: { shape: [2, 4], dtype: 'uint8', values: [0, 0, 0, 0, 1, 0, 0, 2] },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 4,
    },
    {
      name: 'scores beyond the range of the exponential',
      inputs: sequence(1, 20, 150, 1, 16),
      run: ({ q, k, v }) => attention(q, k, v, { scale: 100 }),
      dtypes: ['float64', 'float32'],
      verify([y], { v }) {
        const bound = Math.max(...v.data.map(Math.abs));
        for (const value of y.data)
          if (!(Math.abs(value) <= bound)) throw new Error(`${value} is no mean of values`);
      },
      grad: false,
    },
    {
      name: 'no queries',
      inputs: sequence(1, 0, 5, 2, 8),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: () => [],
    },
    {
      name: 'no batch',
      inputs: sequence(0, 4, 5, 2, 8),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: () => [],
    },
    ...[
      { T: 1024, S: 1024, K: 8, D: 32 },
      { T: 1024, S: 1024, K: 8, D: 64 },
      { T: 1024, S: 77, K: 8, D: 40 },
      { T: 1024, S: 1024, K: 1, D: 512 },
    ].map(({ T, S, K, D }): OpCase => ({
      name: `${T} queries, ${S} keys, ${K} heads of ${D}`,
      inputs: sequence(1, T, S, K, D),
      run: ({ q, k, v }) => attention(q, k, v),
      flops: flops(1, T, S, K, D),
      bench: 'only',
    })),
  ],
  errors: [
    {
      name: 'keys of another head size',
      run: () => attention(zeros([1, 4, 2, 8]), zeros([1, 5, 2, 16]), zeros([1, 5, 2, 16])),
      message: /attention: k must be .* head size 8, got .*\[1, 5, 2, 16\]/,
    },
    {
      name: 'values of another length than the keys',
      run: () => attention(zeros([1, 4, 2, 8]), zeros([1, 5, 2, 8]), zeros([1, 6, 2, 8])),
      message: /v must have k's shape \[1, 5, 2, 8\]/,
    },
    {
      name: 'no keys',
      run: () => attention(zeros([1, 4, 2, 8]), zeros([1, 0, 2, 8]), zeros([1, 0, 2, 8])),
      message: /at least one key/,
    },
    {
      name: 'a mask over queries',
      run: () => {
        const x = zeros([1, 4, 2, 8]);
        const keys = zeros([1, 5, 2, 8]);
        return attention(x, keys, keys, { mask: zeros([1, 4], { dtype: 'bool' }) });
      },
      message: /mask must be \[N, S\] = \[1, 5\]/,
    },
    {
      name: 'a mask of numbers to add',
      run: () => {
        const x = zeros([1, 4, 2, 8]);
        return attention(x, x, x, { mask: zeros([1, 4]) });
      },
      message: /mask must be bool or uint8/,
    },
  ],
} satisfies OpCases;
