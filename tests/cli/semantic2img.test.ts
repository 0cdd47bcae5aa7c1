// Semantic synthesis by commands: a YAML trains on a folder of pairs, and maps of any size become pictures.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { semantic2imgCommand, type Semantic2imgOptions } from '../../lib/cli/semantic2img.js';
import { semantic2img } from '../../lib/cli/semantic2img_pictures.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildFirstStage,
  loadLatentDiffusion,
  readImageSize,
  saveFirstStage,
  saveLatentDiffusion,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { shaken, tinySpec } from '../ldm/tiny_diffusion.js';

const file = temporaryFolder();
const labels = 5;

async function writeMap(name: string, width: number, height: number, extra = 0) {
  const raw = { width, height, channels: 1 } as const;
  const data = Uint8Array.from({ length: width * height }, (_, i) => {
    return ((i >> 3) + extra) % labels;
  });
  if (extra > 10) data[width + 2] = extra;
  await sharp(data, { raw }).toColourspace('b-w').png().toFile(file(name));
}

const yaml = () => `model:
  base_learning_rate: 1.0e-03
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0205
    timesteps: 50
    loss_type: l1
    first_stage_key: image
    cond_stage_key: segmentation
    image_size: 8
    channels: 2
    concat_mode: true
    cond_stage_trainable: true
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        {image_size: 8, in_channels: 4, out_channels: 2, model_channels: 8, num_res_blocks: 1,
         attention_resolutions: [8], channel_mult: [1, 2], num_heads: 2, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 2
        ckpt_path: ${file('first')}
        ddconfig: {double_z: true, z_channels: 2, resolution: 32, in_channels: 3, out_ch: 3, ch: 8,
          ch_mult: [1, 1, 1], num_res_blocks: 1, attn_resolutions: [], dropout: 0.0, norm_groups: 4}
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.SpatialRescaler
      params: {n_stages: 2, in_channels: ${labels}, out_channels: 2}
data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 2
    num_workers: 0
    train:
      target: emulsion.data.MapFolder
      params: {data_root: ${file('scenes')}, size: 32, random_crop: true, flip: 0.5}
lightning:
  trainer: {max_steps: 3}
`;

const sample = (output: string, options: Partial<Semantic2imgOptions> = {}) =>
  semantic2img({
    ...{ model: file('logs/scenes/model'), map: [file('square.png')], count: 1, batch: 4, seed: 0 },
    ...{ sampler: 'ddim', steps: 2, quiet: true, output: file(output), ...options },
  });
const bytes = (path: string) => readFileSync(file(path));

beforeAll(async () => {
  for (const folder of ['scenes', 'scenes/images', 'scenes/annotations']) mkdirSync(file(folder));
  for (const name of ['a', 'b', 'c', 'd']) {
    const background = `#${name.repeat(6)}`;
    await sharp({ create: { width: 40, height: 36, channels: 3, background } })
      .jpeg()
      .toFile(file(`scenes/images/${name}.jpg`));
    await writeMap(`scenes/annotations/${name}.png`, 40, 36);
  }
  await writeMap('square.png', 32, 32);
  await writeMap('wide.png', 50, 37);
  await writeMap('unknown.png', 32, 32, 77);
  writeFileSync(file('scenes.yaml'), yaml());
  const stage = buildFirstStage({
    kind: 'kl',
    embedDim: 2,
    ddconfig: {
      ...{ zChannels: 2, resolution: 32, inChannels: 3, outCh: 3, ch: 8 },
      ...{ chMult: [1, 1, 1], numResBlocks: 1, normGroups: 4 },
    },
  });
  await saveFirstStage(file('first'), stage);
  const call = { command: 'train', base: '--base', trainingOf };
  await train(call, [], { config: [file('scenes.yaml')], name: 'scenes', logdir: file('logs') });
}, 60_000);

test('a configuration of the original’s kind trains on a folder of pairs', async () => {
  const model = await loadLatentDiffusion(file('logs/scenes/model'));
  expect(model.spec).toMatchObject({
    conditioningKey: 'concat',
    conditionerTrainable: true,
    conditioner: { kind: 'spatial-rescaler', inChannels: labels },
  });
  model.dispose();
});

describe('pictures', () => {
  test('have the size of their maps, whatever is made beside them', async () => {
    const maps = [file('square.png'), file('wide.png')];
    await sample('both', { map: maps, count: 2 });
    await sample('again', { map: maps, count: 2 });
    const sizes = [0, 1, 2, 3].map((i) => readImageSize(file(`both/00000${i}.png`)));
    const square = { width: 32, height: 32 };
    const wide = { width: 50, height: 37 };
    expect(await Promise.all(sizes)).toEqual([square, square, wide, wide]);
    for (const i of [0, 1, 2, 3]) {
      const name = `00000${i}.png`;
      expect(bytes(`both/${name}`).equals(bytes(`again/${name}`)), name).toBe(true);
    }
    await sample('alone', { map: [file('wide.png')], seed: 2 });
    expect(bytes('alone/000000.png').equals(bytes('both/000002.png'))).toBe(true);
    await sample('other', { map: [file('wide.png')], seed: 3 });
    expect(bytes('other/000000.png').equals(bytes('both/000002.png'))).toBe(false);
  });

  test('have another size where that is asked for, in patches of another side or none', async () => {
    const map = [file('wide.png')];
    await sample('sized', { map, size: [64, 40], guidance: 2 });
    expect(await readImageSize(file('sized/000000.png'))).toEqual({ width: 64, height: 40 });
    await sample('shorter', { map, size: 74 });
    expect(await readImageSize(file('shorter/000000.png'))).toEqual({ width: 100, height: 74 });
    const shared = { map, size: 74 };
    await sample('small', { ...shared, patch: 16 });
    await sample('whole', { ...shared, whole: true });
    const made = ['shorter', 'small', 'whole'].map((name) => bytes(`${name}/000000.png`));
    expect(new Set(made.map((each) => each.toString('latin1'))).size).toBe(3);
  });

  test('come as one grid, a map a row', async () => {
    await sample('grid', { map: [file('square.png'), file('square.png')], count: 3, grid: true });
    expect(await readImageSize(file('grid/grid-000000.png'))).toEqual({ width: 104, height: 70 });
  });
});

describe('what does not fit is refused before anything is made', () => {
  test.each<[string, Partial<Semantic2imgOptions>, string]>([
    ['an unknown label', { map: [file('square.png'), file('unknown.png')] }, '77 at (2, 1)'],
    ['no map', { map: [file('scenes/images/a.jpg')] }, 'must be a PNG'],
    ['a map that is not there', { map: [file('missing.png')] }, 'there is no such file'],
    ['a grid of sizes', { map: [file('square.png'), file('wide.png')], grid: true }, 'give --size'],
    ['an odd patch', { patch: 20 }, '--patch must be a multiple of 8 pixels'],
    ['two ways', { patch: 16, whole: true }, 'either --whole or --patch'],
    ['a byte beyond', { ignore: 300 }, 'ignore must be a whole number from 0 to 255'],
    ['a model for another task', { model: file('classes') }, 'is conditioned on classes'],
  ])('%s', async (_, options, message) => {
    if (!existsSync(file('classes')))
      await saveLatentDiffusion(file('classes'), await shaken(tinySpec()));
    await expect(sample('refused', options)).rejects.toThrow(message);
    expect(existsSync(file('refused'))).toBe(false);
  });

  test('an ignored byte is no unknown label', async () => {
    await sample('ignored', { map: [file('unknown.png')], ignore: 77 });
    expect(readdirSync(file('ignored'))).toContain('000000.png');
  });

  test.each(['0', '64x', '64x0', 'large', '99999', '-1'])('--size %s', (size) => {
    const command = semantic2imgCommand().exitOverride((error) => {
      throw error;
    });
    command.configureOutput({ writeErr: () => undefined });
    const given = ['--model', 'm', '--map', 'x.png', '-o', 'out', '--size', size];
    expect(() => command.parse(given, { from: 'user' })).toThrow('Expected WIDTHxHEIGHT');
  });
});
