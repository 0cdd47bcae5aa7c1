import { Generator, dropout, ones } from '../../lib/index.js';
import type { CaseFile } from './cases.js';

const seeded = () => new Generator(5, { stream: 2 });

export default [
  {
    op: 'dropout',
    cases: [
      {
        name: 'keeps about 70 percent, scaled',
        inputs: { x: [16, 67] },
        run: ({ x }) => dropout(x, 0.3, { generator: seeded() }),
        verify([y], { x }) {
          let kept = 0;
          y.data.forEach((value, i) => {
            if (value === 0) return;
            ++kept;
            if (Math.abs(value * 0.7 - x.data[i]) > 0.01 * Math.abs(x.data[i]))
              throw new Error(`element ${i} is ${value}`);
          });
          const share = kept / y.data.length;
          if (Math.abs(share - 0.7) > 0.06) throw new Error(`kept ${share}`);
        },
      },
      {
        name: 'evaluation is the identity',
        inputs: { x: [3, 5] },
        run: ({ x }) => dropout(x, 0.5, { training: false }),
        reference: ({ x }) => x,
        grad: false,
      },
    ],
    errors: [
      {
        name: 'p of one',
        run: () => dropout(ones([2]), 1),
        message: /p must lie in \[0, 1\), got 1/,
      },
    ],
  },
] satisfies CaseFile;
