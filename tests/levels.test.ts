// A processor runs its best instruction-set level, and so do all other tests. Here the kernels whose
// tiles or elementary functions differ from level to level run at those below too.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { engineInfo } from '../lib/index.js';

// In ascending order; what is above the own one may be compiled in, but does not run here.
const { level: own, levels } = engineInfo();
const below = levels.slice(0, levels.indexOf(own));
const ops = [
  'conv2d',
  'linear',
  'matmul',
  'attention',
  'groupNorm',
  'layerNorm',
  'softmax',
  'nearestCodes',
  ...['exp', 'log', 'log1p', 'erf', 'tanh', 'sigmoid', 'silu', 'gelu', 'geglu'],
];

describe.skipIf(below.length === 0)('lower instruction-set levels', () => {
  test.for(below)('%s computes the same', async (level) => {
    const program = [
      '--import',
      './scripts/typescript.mjs',
      'tests/support/check_level.ts',
      ...ops,
    ];
    const env = { ...process.env, EMULSION_CPU_LEVEL: level };
    const { stdout } = await promisify(execFile)(process.execPath, program, { env });
    const { count, failures } = JSON.parse(stdout) as { count: number; failures: string[] };
    expect(failures).toEqual([]);
    expect(count).toBeGreaterThan(150);
  });
});
