// The golden numbers of the original, through the same runner as `npm run parity`.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { adapters } from './parity/adapters/index.js';
import { runParity } from './parity/runner.js';

const golden = join(import.meta.dirname, 'golden');

describe('parity with the original', () => {
  for (const folder of ['ops', 'modules', 'diffusion', 'train']) {
    it(folder, { timeout: 300_000 }, async () => {
      const lines: string[] = [];
      const report = await runParity(join(golden, folder), {
        adapters,
        print: (line) => lines.push(line),
      });
      expect(lines.filter((line) => line.startsWith('FAIL'))).toEqual([]);
      expect(report.failed).toBe(0);
      expect(report.passed).toBeGreaterThan(0);
    });
  }
});
