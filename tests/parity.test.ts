// The golden numbers of the original, through the same runner as `npm run parity`.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultDevice, setDefaultDevice } from '../lib/index.js';
import { adapters } from './parity/adapters/index.js';
import { runParity } from './parity/runner.js';
import { availableDevices } from './support/devices.js';

const golden = join(import.meta.dirname, 'golden');

for (const device of availableDevices)
  describe(`parity with the original on ${device}`, () => {
    const before = defaultDevice();
    beforeAll(() => void setDefaultDevice(device));
    afterAll(() => void setDefaultDevice(before));

    for (const folder of ['ops', 'modules', 'diffusion', 'train'])
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
  });
