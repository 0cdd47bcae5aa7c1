import { nearestCodes, tensor, zeros } from '../../lib/index.js';
import { generate, at } from '../support/oracle.js';
import type { InputArrays, OpCase, OpCases } from './cases.js';

/** The definition: every distance, and the first of the least. */
function reference({ vectors, codes }: InputArrays) {
  const [K, D] = codes.shape;
  const distance = (n: number, k: number): number => {
    let sum = 0;
    for (let d = 0; d < D; ++d) sum += (at(vectors, n, d) - at(codes, k, d)) ** 2;
    return sum;
  };
  return generate([vectors.shape[0]], (n) => {
    let [best, least] = [0, distance(n, 0)];
    for (let k = 1; k < K; ++k) {
      const own = distance(n, k);
      if (own < least) [best, least] = [k, own];
    }
    return best;
  });
}

const random = (N: number, K: number, D: number): OpCase => ({
  name: `${N} vectors, ${K} codes, width ${D}`,
  inputs: { vectors: { shape: [N, D], grad: false }, codes: { shape: [K, D], grad: false } },
  run: ({ vectors, codes }) => nearestCodes(vectors, codes),
  reference,
  tolerance: 'exact',
  // Among many 16-bit numbers distances are equal that rounding then tells apart.
  ...(N * K * D > 1000 && D < 16 && { dtypes: ['float32', 'float64'] as const }),
  grad: false,
});

/** Small integers, exact in every dtype, so that distances are equal exactly. */
const whole = (N: number, K: number, D: number): OpCase => ({
  ...random(N, K, D),
  name: `${N} vectors, ${K} codes, width ${D}: many equal distances`,
  inputs: {
    vectors: {
      shape: [N, D],
      values: Array.from({ length: N * D }, (_, i) => (i * 7) % 5),
      grad: false,
    },
    codes: {
      shape: [K, D],
      values: Array.from({ length: K * D }, (_, i) => (i * 11) % 4),
      grad: false,
    },
  },
  dtypes: ['float32', 'float64', 'bfloat16', 'float16'],
});

const timed = (N: number, K: number, D: number): OpCase => ({
  ...random(N, K, D),
  reference: undefined,
  bench: 'only',
  flops: 2 * N * K * D,
});

export default {
  op: 'nearestCodes',
  cases: [
    random(1, 1, 1),
    random(1, 3, 4),
    random(67, 33, 3),
    random(131, 300, 4),
    random(23, 129, 19),
    random(64, 1100, 32),
    random(5, 37, 256),
    random(0, 5, 4),
    whole(70, 90, 2),
    whole(13, 1, 5),
    whole(11, 1300, 3),
    {
      name: 'equal codes: the first',
      inputs: {
        vectors: { shape: [9, 3], grad: false },
        codes: { shape: [200, 3], values: new Array<number>(600).fill(0.25), grad: false },
      },
      run: ({ vectors, codes }) => nearestCodes(vectors, codes),
      reference: () => new Array<number>(9).fill(0),
      tolerance: 'exact',
      grad: false,
    },
    {
      name: 'vectors without width',
      inputs: { vectors: { shape: [3, 0], grad: false }, codes: { shape: [2, 0], grad: false } },
      run: ({ vectors, codes }) => nearestCodes(vectors, codes),
      reference: () => [0, 0, 0],
      tolerance: 'exact',
      grad: false,
    },
    {
      name: 'NaN in a code and in a vector',
      inputs: {
        vectors: { shape: [3, 2], values: [0, 0, NaN, 9, 9, 9], grad: false },
        codes: { shape: [3, 2], values: [0, NaN, 8, 8, 1, 1], grad: false },
      },
      run: ({ vectors, codes }) => nearestCodes(vectors, codes),
      reference: () => [2, 0, 1],
      tolerance: 'exact',
      grad: false,
    },
    timed(4096 * 4, 8192, 3),
    timed(1024 * 4, 16384, 4),
    timed(256 * 4, 16384, 8),
    timed(4096, 1024, 256),
  ],
  errors: [
    {
      name: 'no codes',
      run: () => nearestCodes(zeros([2, 3]), zeros([0, 3])),
      message: /nearestCodes: there is no code/,
    },
    {
      name: 'two widths',
      run: () => nearestCodes(zeros([2, 3]), zeros([5, 4])),
      message: /nearestCodes: vectors \[2, 3\] and codes \[5, 4\]/,
    },
    {
      name: 'two dtypes',
      run: () => nearestCodes(zeros([2, 3]), zeros([5, 3], { dtype: 'bfloat16' })),
      message: /nearestCodes: vectors is float32 but codes is bfloat16/,
    },
    {
      name: 'integers',
      run: () => nearestCodes(tensor([[1]], { dtype: 'int32' }), tensor([[1]], { dtype: 'int32' })),
      message: /nearestCodes: vectors must have a floating dtype/,
    },
    {
      name: 'a map instead of vectors',
      run: () => nearestCodes(zeros([1, 2, 2, 3]), zeros([5, 3])),
      message: /nearestCodes: vectors must have 2 dimensions/,
    },
  ],
} satisfies OpCases;
