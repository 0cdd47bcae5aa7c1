// The golden numbers of the original, through the same runner as `npm run parity`.
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultDevice, setDefaultDevice } from '../lib/index.js';
import { adapters } from './parity/adapters/index.js';
import { runParity } from './parity/runner.js';
import { availableDevices } from './support/devices.js';

const golden = join(import.meta.dirname, 'golden');

const folders = ['ops', 'modules', 'full', 'diffusion', 'train', 'metrics'];

/** Options of the text encoder that no published model uses. */
const leftOut = ['glu_ff_mem', 'scalenorm', 'rmsnorm_posfree', 'posinfused'].map(
  (name) => `skip x_transformer.safetensors ${name}`,
);

/** Whole networks, training and trajectories take minutes where a GPU is emulated. */
const emulatedFolders = ['ops', 'modules'];
const emulatedModules =
  /(block|attention|attn|cross|feed_forward|embedder|gaussian|quantizer|resample)/;

for (const device of availableDevices)
  describe(`parity with the original on ${device}`, () => {
    const before = defaultDevice();
    beforeAll(() => void setDefaultDevice(device));
    afterAll(() => void setDefaultDevice(before));

    const emulated = device.name === 'emulated';
    for (const folder of emulated ? emulatedFolders : folders)
      it(folder, async () => {
        const lines: string[] = [];
        const report = await runParity(join(golden, folder), {
          adapters,
          print: (line) => lines.push(line),
          exclude: (path) =>
            emulated && folder === 'modules' && !emulatedModules.test(basename(path)),
        });
        expect(lines.filter((line) => line.startsWith('FAIL'))).toEqual([]);
        expect(report.failed).toBe(0);
        expect(report.passed).toBeGreaterThan(0);
        const skipped = lines.filter((line) => line.startsWith('skip'));
        expect(skipped.map((line) => line.split(': ')[0])).toEqual(
          folder === 'modules' && !emulated ? leftOut : [],
        );
      });
  });
