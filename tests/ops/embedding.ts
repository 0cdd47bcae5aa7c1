import { embedding, tensor, zeros } from '../../lib/index.js';
import type { InputArrays, OpCases } from './cases.js';
import { at, generate } from '../support/oracle.js';

const reference = ({ weight, ids }: InputArrays) =>
  generate([...ids.shape, weight.shape[1]], (...index) =>
    at(weight, at(ids, ...index.slice(0, -1)), index[index.length - 1]),
  );

export default {
  op: 'embedding',
  cases: [
    {
      name: 'repeated ids, odd width',
      inputs: { weight: [10, 37], ids: { shape: [3, 7], dtype: 'int64' } },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      reduction: 21,
    },
    {
      name: 'one id many times',
      inputs: {
        weight: [3, 5],
        ids: { shape: [50], dtype: 'int32', values: new Array<number>(50).fill(2) },
      },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      reduction: 50,
    },
    {
      name: 'more ids than rows, whole packs',
      inputs: { weight: [30, 8], ids: { shape: [2500], dtype: 'int64', high: 30 } },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      reduction: 120,
    },
    {
      name: 'padding: one id very often, others now and then',
      inputs: {
        weight: [40, 136],
        ids: {
          shape: [3, 77],
          dtype: 'int32',
          values: Array.from({ length: 231 }, (_, p) => (p % 77 < 9 ? (p * 7) % 40 : 5)),
        },
      },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      reduction: 210,
    },
    {
      name: 'a single id without dimensions, width one',
      inputs: { weight: [10, 1], ids: { shape: [], dtype: 'int32' } },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      tolerance: 'exact',
    },
    {
      name: 'no ids',
      inputs: { weight: [10, 4], ids: { shape: [2, 0], dtype: 'int64' } },
      run: ({ weight, ids }) => embedding(weight, ids),
      reference,
      tolerance: 'exact',
    },
    {
      name: 'a vocabulary of 30522, 77 tokens',
      inputs: { weight: [30522, 640], ids: { shape: [8, 77], dtype: 'int64', high: 30522 } },
      run: ({ weight, ids }) => embedding(weight, ids),
      bytes: 2 * 8 * 77 * 640 * 4,
      bench: 'only',
    },
  ],
  errors: [
    {
      name: 'an id beyond the table',
      run: () => embedding(zeros([5, 4]), tensor([0, 5], { dtype: 'int32' })),
      message: /embedding: id 5 at position 1 .* \[0, 5\)/,
    },
    {
      name: 'a negative id',
      run: () => embedding(zeros([5, 4]), tensor([-1], { dtype: 'int64' })),
      message: /embedding: id -1 at position 0/,
    },
    {
      name: 'fractional ids',
      run: () => embedding(zeros([5, 4]), zeros([2])),
      message: /embedding: ids must be int32 or int64/,
    },
    {
      name: 'a table of three dimensions',
      run: () => embedding(zeros([5, 4, 2]), zeros([2], { dtype: 'int32' })),
      message: /embedding: weight must have 2 dimensions/,
    },
  ],
} satisfies OpCases;
