// What `emulsion train` refuses before a folder is made, and what it tells of a configuration.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { TrainOptions } from '../../lib/cli/train.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import { temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';
import { tinyConfigs } from './tiny_configs.js';

const file = temporaryFolder();

beforeAll(async () => {
  mkdirSync(file('pictures'));
  await sharp({ create: { width: 32, height: 32, channels: 3, background: 'red' } })
    .png()
    .toFile(file('pictures/0.png'));
  for (const [name, text] of Object.entries(tinyConfigs(file)))
    writeFileSync(file(`${name}.yaml`), text);
});

/** `emulsion train` in this process. */
const run = (overrides: string[], options: TrainOptions) =>
  train({ command: 'train', base: '--base', trainingOf }, overrides, options);

describe('emulsion train', () => {
  const options = { logdir: file('logs'), name: 'refused' };
  const joined = [
    'model.params.cond_stage_config={target: torch.nn.Identity}',
    'model.params.conditioning_key=concat',
    'model.params.unet_config.params.in_channels=4',
  ];

  test.each<[string, string[], object, RegExp]>([
    [
      'a target nobody knows',
      ['model.target=ldm.LatentDifusion'],
      {},
      /'ldm\.LatentDifusion' is not known/,
    ],
    ['a condition that data do not hold', joined, {}, /identity, and .* holds nothing for it/],
    [
      'cached latents of a model whose condition changes with every crop',
      [...joined, 'data.params.train.target=emulsion.data.SuperResolutionFolder'],
      { cacheLatents: true },
      /identity\) changes with every crop.*emulsion\.cache_latents=false/,
    ],
    ['no data', ['data.params.train=null'], {}, /no data to train on/],
    [
      'a first stage with cached latents',
      [],
      { cacheLatents: true, config: ['first'] },
      /no latents to cache/,
    ],
    ['nothing', [], { config: [] }, /give a configuration with --base, or a run with --resume/],
  ])('refuses %s', async (_what, overrides, given, message) => {
    const { config = ['second'], ...rest } = given as { config?: string[] };
    const paths = config.map((name) => file(`${name}.yaml`));
    await expect(run(overrides, { ...options, ...rest, config: paths })).rejects.toThrow(message);
    expect(existsSync(file('logs/refused'))).toBe(false);
  });

  test("resolves the original's configurations and counts", async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => log.mockRestore());
    const config = [join(root, 'configs/latent_diffusion/bsr_sr.yaml')];
    await run(['data=null'], { ...options, config, dryRun: true });
    const said = log.mock.calls.map(([text]) => String(text)).join('\n');
    expect(said).toContain('target: ldm.modules.diffusionmodules.openaimodel.UNetModel');
    expect(said).toContain('# network: 113,622,563 parameters');
    expect(said).toContain('# first stage: 55,322,782 parameters');
  });
});
