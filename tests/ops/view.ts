import { detach, reshape, zeros } from '../../lib/index.js';
import type { OpCases } from './cases.js';

export default [
  {
    op: 'reshape',
    cases: [
      {
        name: 'folds and unfolds an image',
        inputs: { x: [2, 3, 5, 7] },
        run: ({ x }) => reshape(x, [2, -1, 7]),
        reference: ({ x }) => ({ data: x.data, shape: [2, 15, 7] }),
        tolerance: 'exact',
      },
      {
        name: 'one element to a scalar',
        inputs: { x: [1, 1] },
        run: ({ x }) => reshape(x, []),
        reference: ({ x }) => ({ data: x.data, shape: [] }),
        tolerance: 'exact',
      },
      {
        name: 'integers, empty',
        inputs: { x: { shape: [0, 4], dtype: 'int64' } },
        run: ({ x }) => reshape(x, [2, 0]),
        reference: () => ({ data: new Float64Array(0), shape: [2, 0] }),
      },
    ],
    errors: [
      {
        name: 'another number of elements',
        run: () => reshape(zeros([2, 3]), [4]),
        message: /reshape: .*\[2, 3\].*\[4\]/,
      },
    ],
  },
  {
    op: 'detach',
    cases: [
      {
        name: 'same values, no history',
        inputs: { x: [3, 4] },
        run: ({ x }) => detach(x),
        reference: ({ x }) => x,
        tolerance: 'exact',
        grad: false,
      },
    ],
  },
] satisfies OpCases[];
