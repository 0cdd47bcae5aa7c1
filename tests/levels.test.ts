// A processor runs its best instruction-set level, and so do all other tests. Here the kernels whose
// tiles differ from level to level run at the others too.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { engineInfo } from '../lib/index.js';

const { level: own, levels } = engineInfo();
const ops = [
  'conv2d',
  'linear',
  'matmul',
  'attention',
  'group_norm',
  'layer_norm',
  'nearest_codes',
];

describe.skipIf(levels.length < 2)('other instruction-set levels', () => {
  test.for(levels.filter((level) => level !== own))('%s computes the same', async (level) => {
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
