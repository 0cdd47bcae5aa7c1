// Speeds of the study of compression: of every model and number of steps, from all rounds.
import { expect, test } from 'vitest';
import { measureSpeeds } from '../../examples/studies/tradeoff/speeds.js';
import { buildLatentDiffusion, median, saveLatentDiffusion } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const inFolder = temporaryFolder();
const unet = {
  ...{ inChannels: 3, outChannels: 3, modelChannels: 8, numResBlocks: 1 },
  ...{ attentionResolutions: [], channelMult: [1], numHeads: 1, normGroups: 4 },
};

test('speeds are medians over rounds, by model and steps', async () => {
  const folders = ['small', 'large'].map(inFolder);
  for (const [i, folder] of folders.entries()) {
    const model = buildLatentDiffusion({
      unet,
      firstStage: { kind: 'identity' },
      diffusion: { parameterization: 'v' },
      imageSize: 8 + 24 * i,
    });
    await saveLatentDiffusion(folder, model);
    model.dispose();
  }
  const steps = [1, 3];
  const { signal } = new AbortController();
  const { machine, entries } = await measureSpeeds({ folders, steps, rounds: 3, signal });
  expect(machine.threads).toBeGreaterThan(0);
  expect(entries.map((ofModel) => ofModel.map((entry) => entry.steps))).toEqual([steps, steps]);
  for (const { seconds, samplesPerSecond, batch } of entries.flat()) {
    expect(seconds).toHaveLength(3);
    expect(samplesPerSecond).toBe(batch / median(seconds));
  }
  // 16 times the pixels
  expect(entries[1][1].peakBytes).toBeGreaterThan(2 * entries[0][1].peakBytes);
});
