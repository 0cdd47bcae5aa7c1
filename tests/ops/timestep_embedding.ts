import { timestepEmbedding, zeros } from '../../lib/index.js';
import type { OpCases } from './cases.js';
import { at, generate, type NdArray } from '../support/oracle.js';

// Phases in float32: an absolute error of a few units in the last place of the largest time remains, so
// the times here are small; the golden file has times up to 999.
function reference(t: NdArray, dim: number, variant: 'ldm' | 'ddpm', maxPeriod = 10000): NdArray {
  const half = Math.floor(dim / 2);
  const steps = variant === 'ddpm' ? half - 1 : half;
  return generate([t.shape[0], dim], (b, i) => {
    if (i >= 2 * half) return 0;
    const phase = at(t, b) * Math.exp((-Math.log(maxPeriod) * (i % half)) / steps);
    return (variant === 'ldm') === i < half ? Math.cos(phase) : Math.sin(phase);
  });
}

export default {
  op: 'timestepEmbedding',
  cases: [
    {
      name: 'cosines first',
      inputs: { t: { shape: [5], dtype: 'int64' } },
      run: ({ t }) => timestepEmbedding(t, 32),
      reference: ({ t }) => reference(t, 32, 'ldm'),
    },
    {
      name: 'sines first, odd width',
      inputs: { t: { shape: [3], dtype: 'int32' } },
      run: ({ t }) => timestepEmbedding(t, 13, { variant: 'ddpm' }),
      reference: ({ t }) => reference(t, 13, 'ddpm'),
    },
    {
      name: 'fractional times, another period',
      inputs: { t: { shape: [4], values: 'uniform', high: 8, grad: false } },
      run: ({ t }) => timestepEmbedding(t, 24, { maxPeriod: 100 }),
      reference: ({ t }) => reference(t, 24, 'ldm', 100),
    },
    {
      name: 'the smallest widths',
      inputs: { t: { shape: [2], dtype: 'int32' } },
      run: ({ t }) => [timestepEmbedding(t, 2), timestepEmbedding(t, 4, { variant: 'ddpm' })],
      reference: ({ t }) => [reference(t, 2, 'ldm'), reference(t, 4, 'ddpm')],
    },
    {
      name: 'no times',
      inputs: { t: { shape: [0], dtype: 'int64' } },
      run: ({ t }) => timestepEmbedding(t, 8),
      reference: () => [],
    },
  ],
  errors: [
    {
      name: 'times per pixel',
      run: () => timestepEmbedding(zeros([2, 2]), 8),
      message: /timestepEmbedding: t must have 1 dimensions/,
    },
    {
      name: 'too narrow for ddpm',
      run: () => timestepEmbedding(zeros([2]), 3, { variant: 'ddpm' }),
      message: /dim must be an integer >= 4 for 'ddpm', got 3/,
    },
    {
      name: 'an unknown variant',
      run: () => timestepEmbedding(zeros([2]), 8, { variant: 'adm' as 'ldm' }),
      message: /variant must be 'ldm' or 'ddpm', got adm/,
    },
    {
      name: 'a period of zero',
      run: () => timestepEmbedding(zeros([2]), 8, { maxPeriod: 0 }),
      message: /maxPeriod must be positive, got 0/,
    },
  ],
} satisfies OpCases;
