import { attention, zeros, type DType } from '../../lib/index.js';
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

type Sizes = [N: number, T: number, S: number, K: number, D: number];
const sequence = (...[N, T, S, K, D]: Sizes) => ({
  q: [N, T, K, D],
  k: [N, S, K, D],
  v: [N, S, K, D],
});

const floating: DType[] = ['float64', 'float32', 'bfloat16', 'float16'];

/** Forward products of queries, keys and values. */
const flops = (N: number, T: number, S: number, K: number, D: number) => 4 * N * T * S * K * D;

export default {
  op: 'attention',
  cases: [
    ...(
      [
        {
          name: 'several blocks of keys and queries, three heads of 24',
          sizes: [2, 135, 70, 3, 24],
          reduction: 135,
        },
        { name: 'odd head size', sizes: [1, 33, 19, 2, 7], reduction: 33 },
        { name: 'one wide head', sizes: [1, 6, 11, 1, 515], reduction: 515 },
        { name: 'wide heads over two tiles of keys', sizes: [1, 37, 150, 2, 131], reduction: 150 },
        // In 16 bits one gradient of 34,584 lies beyond what their rounding is allowed.
        {
          name: 'more heads than tasks are wanted, keys in two groups of panels',
          sizes: [2, 3, 131, 33, 4],
          reduction: 131,
          dtypes: ['float64', 'float32'],
        },
      ] satisfies { name: string; sizes: Sizes; reduction: number; dtypes?: DType[] }[]
    ).map(({ sizes, ...rest }): OpCase => ({
      ...rest,
      inputs: sequence(...sizes),
      run: ({ q, k, v }) => attention(q, k, v),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
    })),
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
      name: 'wide heads, keys masked',
      inputs: { ...sequence(2, 9, 70, 1, 144), mask: { shape: [2, 70], dtype: 'bool' } },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 144,
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
      name: 'queries in several parts for few keys, some of one entry masked, all of the other',
      inputs: {
        ...sequence(2, 270, 77, 2, 24),
        mask: {
          shape: [2, 77],
          dtype: 'bool',
          values: Array.from({ length: 154 }, (_, i) => Number(i < 77 && i % 5 > 0)),
        },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      reference: (inputs) => reference(inputs),
      tolerance: 'matmul',
      reduction: 270,
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
      name: 'a query that is not a number, one of infinite scores, and one beside them',
      inputs: {
        q: { shape: [1, 3, 1, 2], values: [NaN, 1, Infinity, 1, 1, 2] },
        k: [1, 70, 1, 2],
        v: [1, 70, 1, 2],
      },
      run: ({ q, k, v }) => attention(q, k, v),
      reference: (inputs) => reference(inputs),
      dtypes: ['float64', 'float32'],
      tolerance: 'matmul',
      reduction: 70,
      grad: false,
    },
    // Every head size that has a kernel of its own on a GPU, with tails on both sides.
    ...[24, 40, 48, 64, 80, 96, 128, 160].map((D): OpCase => ({
      name: `70 queries, 77 keys, heads of ${D}`,
      inputs: sequence(1, 70, 77, D < 64 ? 2 : 1, D),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: D === 64 ? floating : ['bfloat16', 'float16'],
      tolerance: 'matmul',
      reduction: 160,
    })),
    ...[40, 64, 128].map((D): OpCase => ({
      name: `masked keys, 130 of them, heads of ${D}`,
      inputs: { ...sequence(2, 17, 130, 1, D), mask: { shape: [2, 130], dtype: 'bool' } },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      dtypes: D === 128 ? floating : ['bfloat16', 'float16'],
      tolerance: 'matmul',
      reduction: 130,
    })),
    {
      name: 'tiles without a key that counts, heads of 32',
      inputs: {
        ...sequence(2, 5, 200, 1, 32),
        mask: {
          shape: [2, 200],
          dtype: 'uint8',
          values: Array.from({ length: 400 }, (_, i) => (i < 200 && i > 150 ? 1 : 0)),
        },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      tolerance: 'matmul',
      reduction: 200,
    },
    // Enough heads that a GPU gives each of its warps 32 queries.
    ...[
      { D: 24, T: 40, S: 71 },
      { D: 40, T: 33, S: 20 },
      { D: 64, T: 17, S: 66 },
      { D: 80, T: 17, S: 9 },
      { D: 96, T: 20, S: 16 },
      { D: 128, T: 17, S: 37 },
    ].map(({ D, T, S }, i): OpCase => ({
      name: `256 heads of ${D}`,
      inputs: sequence(1, T, S, 256, D),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: [i % 2 ? 'float16' : 'bfloat16'],
      tolerance: 'matmul',
      reduction: 71,
      grad: false,
    })),
    {
      name: 'a negative scale',
      inputs: sequence(1, 9, 70, 1, 16),
      run: ({ q, k, v }) => attention(q, k, v, { scale: -0.5 }),
      reference: (inputs) => reference(inputs, -0.5),
      tolerance: 'matmul',
      reduction: 70,
    },
    {
      name: 'a scale of zero',
      inputs: sequence(1, 9, 70, 1, 16),
      run: ({ q, k, v }) => attention(q, k, v, { scale: 0 }),
      reference: (inputs) => reference(inputs, 0),
      tolerance: 'matmul',
      reduction: 70,
    },
    {
      name: 'one key for many queries',
      inputs: {
        q: { shape: [2, 70, 2, 40], grad: false },
        k: { shape: [2, 1, 2, 40], grad: false },
        v: [2, 1, 2, 40],
      },
      run: ({ q, k, v }) => attention(q, k, v),
      tolerance: 'matmul',
      reduction: 70,
    },
    {
      name: 'one key, masked for one entry, for many queries and heads of 5',
      inputs: {
        q: { shape: [2, 300, 3, 5], grad: false },
        k: { shape: [2, 1, 3, 5], grad: false },
        v: [2, 1, 3, 5],
        mask: { shape: [2, 1], dtype: 'bool', values: [1, 0] },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      tolerance: 'matmul',
      reduction: 300,
    },
    {
      name: 'many queries, few keys',
      inputs: sequence(1, 1100, 5, 1, 24),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: ['float32', 'bfloat16'],
      tolerance: 'matmul',
      reduction: 1100,
    },
    {
      name: 'few queries, many keys',
      inputs: sequence(1, 3, 1100, 1, 20),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: ['float32', 'float16'],
      tolerance: 'matmul',
      reduction: 1100,
    },
    {
      name: 'few queries, many keys, of which the first 600 are masked',
      inputs: {
        ...sequence(1, 3, 700, 1, 8),
        mask: {
          shape: [1, 700],
          dtype: 'bool',
          values: Array.from({ length: 700 }, (_, i) => (i < 600 ? 0 : 1)),
        },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      dtypes: ['float32', 'float16'],
      tolerance: 'matmul',
      reduction: 700,
    },
    // One wide head: more than a block's registers hold, or few blocks and a long other side.
    ...[
      { T: 70, S: 150, D: 384 },
      { T: 9, S: 530, D: 200 },
      { T: 530, S: 9, D: 168 },
      { T: 20, S: 20, D: 576 },
      { T: 5, S: 3, D: 963 },
    ].map(({ T, S, D }): OpCase => ({
      name: `${T} queries, ${S} keys, a head of ${D}`,
      inputs: { ...sequence(1, T, S, 1, D), mask: { shape: [1, S], dtype: 'bool' } },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      dtypes: ['float32', 'bfloat16', 'float16'],
      tolerance: 'matmul',
      reduction: Math.max(T, S, D),
    })),
    // Rows so wide that a CPU reads them where they lie, without a mask that would thin them out.
    {
      name: '70 queries, 150 keys, three heads of 136, two entries',
      inputs: sequence(2, 70, 150, 3, 136),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: ['float64', 'float32', 'bfloat16'],
      tolerance: 'matmul',
      reduction: 150,
    },
    // Hopper's tiles of 128 queries by 128 keys: every head size that has a kernel, and rests of both.
    ...[
      { N: 1, T: 128, S: 128, K: 2, D: 32 },
      { N: 2, T: 150, S: 300, K: 2, D: 40 },
      { N: 1, T: 129, S: 256, K: 1, D: 48 },
      { N: 2, T: 200, S: 129, K: 3, D: 64 },
      { N: 1, T: 257, S: 390, K: 1, D: 80 },
      { N: 1, T: 131, S: 170, K: 2, D: 96 },
      { N: 1, T: 140, S: 640, K: 1, D: 128 },
      { N: 1, T: 560, S: 130, K: 1, D: 40 },
      { N: 2, T: 130, S: 280, K: 1, D: 160 },
      { N: 1, T: 190, S: 150, K: 2, D: 136 },
    ].map(({ N, T, S, K, D }): OpCase => ({
      name: `${N} x ${T} queries, ${S} keys, ${K} heads of ${D}`,
      inputs: sequence(N, T, S, K, D),
      run: ({ q, k, v }) => attention(q, k, v),
      dtypes: ['bfloat16', 'float16'],
      tolerance: 'matmul',
      reduction: Math.max(T, S, D),
    })),
    ...[
      { name: 'at random', of: (i: number) => (i * 7919) % 5 > 2 },
      { name: 'for all of one entry', of: (i: number) => i >= 300 },
      { name: 'from 150 on, and up to 140', of: (i: number) => (i < 300 ? i < 150 : i >= 440) },
    ].map(({ name, of }): OpCase => ({
      name: `keys masked ${name}, 130 queries, 300 keys`,
      inputs: {
        ...sequence(2, 130, 300, 2, 40),
        mask: {
          shape: [2, 300],
          dtype: 'bool',
          values: Array.from({ length: 600 }, (_, i) => Number(of(i))),
        },
      },
      run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
      dtypes: ['bfloat16'],
      tolerance: 'matmul',
      reduction: 300,
    })),
    ...[-0.5, 0, 2].map((scale): OpCase => ({
      name: `a scale of ${scale}, 140 queries, 270 keys`,
      inputs: sequence(1, 140, 270, 1, 64),
      run: ({ q, k, v }) => attention(q, k, v, { scale }),
      dtypes: ['float16'],
      tolerance: 'matmul',
      reduction: 270,
      grad: scale <= 0, // steep weights lose the gradient of k to rounding
    })),
    ...[
      { name: 'no queries', inputs: sequence(1, 0, 5, 2, 8) },
      { name: 'no batch', inputs: sequence(0, 4, 5, 2, 8) },
    ].map((empty): OpCase => ({
      ...empty,
      run: ({ q, k, v }) => attention(q, k, v),
      reference: () => [],
    })),
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
