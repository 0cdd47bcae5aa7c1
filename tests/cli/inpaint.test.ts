// `emulsion inpaint` on models that were never trained: which files belong together, and what stays of pictures.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { inpaintPictures } from '../../lib/cli/inpaint_pictures.js';
import { inpaintCommand, type InpaintCommandOptions } from '../../lib/cli/inpaint.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildFirstStage,
  loadConfigTree,
  loadLatentDiffusion,
  saveFirstStage,
  saveLatentDiffusion,
  type LatentDiffusionSpec,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, shaken } from '../ldm/tiny_diffusion.js';

const file = temporaryFolder();

const inpaintingSpec = (): LatentDiffusionSpec => ({
  ...plainSpec({ conditioner: { kind: 'first-stage' }, conditioningKey: 'concat' }),
  unet: { ...plainSpec().unet, inChannels: 7 },
});

const colours = (width: number, height: number, channels: 1 | 3, value: (i: number) => number) =>
  sharp(
    Uint8Array.from({ length: width * height * channels }, (_, i) => value(i)),
    {
      raw: { width, height, channels },
    },
  );
const photo = (name: string, n: number, width = 18, height = 13) =>
  colours(width, height, 3, (i) => (i * 7 + n * 50 + (i >> 3)) % 256).toFile(file(name));
/** White from column 10 of 18 on. */
const mask = (name: string, width = 18, height = 13, white = 255) =>
  colours(width, height, 1, (i) => (i % width >= (width * 10) / 18 ? white : 0)).toFile(file(name));

const save = async (name: string, spec: LatentDiffusionSpec) => {
  const model = await shaken(spec);
  await saveLatentDiffusion(file(name), model);
  model.dispose();
};

beforeAll(async () => {
  await save('plain', plainSpec());
  await save('inpainting', inpaintingSpec());
  const { unet } = plainSpec();
  await save('upscaling', {
    ...plainSpec({ conditioner: { kind: 'identity' }, conditioningKey: 'concat' }),
    unet: { ...unet, inChannels: 6 },
  });
  for (const folder of ['pairs', 'photos', 'masks']) mkdirSync(file(folder));
  await photo('pairs/a.png', 1);
  await photo('pairs/b.jpg', 2, 16, 12);
  await mask('pairs/a_mask.png');
  await mask('pairs/b_mask000.png', 16, 12);
  await mask('pairs/b_mask001.png', 16, 12);
  await photo('photos/a.png', 1);
  await photo('photos/c.png', 3);
  await mask('masks/a.png');
  await mask('masks/c_mask.webp');
  await mask('small.png', 9, 7);
  await mask('dark.png', 18, 13, 127);
});

const run = (output: string, options: Partial<InpaintCommandOptions>) =>
  inpaintPictures({
    ...{ model: file('plain'), image: file('photos/a.png'), batch: 4, sampler: 'ddim', steps: 2 },
    ...{ seed: 0, quiet: true, output: file(output), ...options },
  });
const pixels = (name: string) => sharp(file(name)).raw().toBuffer({ resolveWithObject: true });
const written = (folder: string) => readdirSync(file(folder)).filter((name) => !/json/.test(name));

describe('files', () => {
  test.each(['plain', 'inpainting'])(
    'known pixels are those of the file, with a model of %s',
    async (model) => {
      await run(`known-${model}`, { model: file(model), mask: file('masks/a.png') });
      const [before, after] = [await pixels('photos/a.png'), await pixels(`known-${model}/a.png`)];
      expect(after.info).toMatchObject({ width: 18, height: 13, channels: 3 });
      let made = 0;
      after.data.forEach((byte, i) => {
        if (Math.floor(i / 3) % 18 < 10) expect(byte).toBe(before.data[i]);
        else made += byte === before.data[i] ? 0 : 1;
      });
      expect(made).toBeGreaterThan(200);
    },
  );

  test('pairs in one folder, as the authors lay them out; several masks of a picture go by their names', async () => {
    await run('paired', { image: file('pairs') });
    expect(written('paired')).toEqual(['a.png', 'b_mask000.png', 'b_mask001.png']);
    await run('paired-again', { image: file('pairs'), mask: file('pairs') });
    expect(written('paired-again')).toEqual(written('paired'));
  });

  test('a picture finds the mask beside it', async () => {
    await run('beside', { image: file('pairs/a.png') });
    expect(readFileSync(file('beside/a.png'))).toEqual(readFileSync(file('paired/a.png')));
  });

  test('two folders, and one mask for a whole folder', async () => {
    await run('two', { image: file('photos'), mask: file('masks'), grid: true });
    expect(written('two')).toEqual(['a.png', 'c.png', 'grid-000000.png']);
    await run('one', { image: file('photos'), mask: file('masks/a.png') });
    expect(readFileSync(file('one/c.png'))).toEqual(readFileSync(file('two/c.png')));
    const [settings] = JSON.parse(readFileSync(file('one/sampling_config.json'), 'utf8')) as [
      object,
    ];
    expect(settings).toMatchObject({ image: file('photos'), mask: file('masks/a.png'), count: 2 });
  });

  test('outpainting grows the picture and keeps it', async () => {
    const outpaint = { left: 5, top: 0, right: 2, bottom: 3 };
    await run('wider', { outpaint });
    const [before, after] = [await pixels('photos/a.png'), await pixels('wider/a.png')];
    expect(after.info).toMatchObject({ width: 25, height: 16 });
    for (let y = 0; y < 13; ++y) {
      const row = after.data.subarray((y * 25 + 5) * 3, (y * 25 + 23) * 3);
      expect(row.equals(before.data.subarray(y * 54, (y + 1) * 54))).toBe(true);
    }
  });

  test('masks of another size are brought to the picture where asked', async () => {
    await run('resized', { mask: file('small.png'), resizeMask: true });
    expect(written('resized')).toEqual(['a.png']);
  });
});

describe('refused before any model is loaded', () => {
  const lonely = () => {
    mkdirSync(file('lonely'), { recursive: true });
    copyFileSync(file('pairs/a_mask.png'), file('lonely/z_mask.png'));
    return file('lonely');
  };
  test.each<[string, () => Partial<InpaintCommandOptions>, RegExp]>([
    [
      'a mask of another size',
      () => ({ mask: file('small.png') }),
      /small\.png: is 9 x 7 pixels, and .*a\.png is 18 x 13; --resize-mask/,
    ],
    ['a mask without a hole', () => ({ mask: file('dark.png') }), /dark\.png: has no hole/],
    ['a picture without a mask', () => ({}), /has no mask beside it \(a_mask\.png\)/],
    ['a folder without masks', () => ({ image: file('photos') }), /holds no masks/],
    ['a mask without a picture', () => ({ image: lonely() }), /z_mask\.png: is a mask without/],
    [
      'a folder that lacks a mask',
      () => ({ image: file('photos'), mask: file('pairs') }),
      /c\.png: has no mask in/,
    ],
    ['a mask that is not there', () => ({ mask: file('none.png') }), /none\.png: cannot be read/],
    [
      'a mask that is no picture',
      () => ({ mask: file('plain/config.json') }),
      /cannot be read as a picture/,
    ],
    [
      'masks beside outpainting',
      () => ({ mask: file('small.png'), outpaint: { left: 1, top: 0, right: 0, bottom: 0 } }),
      /leave --mask/,
    ],
    [
      'a grid of pictures of two sizes',
      () => ({ image: file('pairs'), grid: true }),
      /pictures of one size, these have/,
    ],
    [
      'a picture over itself',
      () => ({ image: file('pairs/a.png'), output: file('pairs'), force: true }),
      /overwrite the input/,
    ],
  ])('%s', async (_, options, message) => {
    await expect(run('refused', { model: file('no-model'), ...options() })).rejects.toThrow(
      message,
    );
  });

  test('files that are there, unless forced', async () => {
    const options = { mask: file('masks/a.png') };
    await run('there', options);
    await expect(run('there', options)).rejects.toThrow(/--force/);
    await run('there', { ...options, force: true });
  });

  test('a checkpoint for another task', async () => {
    const options = { model: file('upscaling'), mask: file('masks/a.png') };
    await expect(run('refused', options)).rejects.toThrow(/upscaling: inpaint: .*another task/s);
  });

  test('guidance without a condition', async () => {
    const options = { mask: file('masks/a.png'), guidance: 2 };
    await expect(run('refused', options)).rejects.toThrow(/no condition/);
  });

  test.each(['1,2,3', '0,0,0,0', '1,2,3,-4', 'a,b,c,d', '1,2,3,4,5', '1e3,0,0,0'])(
    'borders of %s',
    async (text) => {
      const exit = vi.spyOn(process, 'exit').mockImplementation((code) => {
        throw new Error(`exit ${code}`);
      });
      const error = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
      onTestFinished(() => [exit, error].forEach((each) => each.mockRestore()));
      const args = ['--model', 'm', '--image', 'i', '-o', 'o', '--outpaint', text];
      await expect(inpaintCommand().parseAsync(args, { from: 'user' })).rejects.toThrow('exit 2');
      expect(error.mock.calls.flat().join('')).toContain('four whole numbers');
    },
  );
});

describe('training', () => {
  const ddconfig = `{double_z: false, z_channels: 3, resolution: 16, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 2],
          num_res_blocks: 1, attn_resolutions: [], attn_type: none, dropout: 0.0, norm_groups: 4}`;
  const params = `{embed_dim: 3, n_embed: 16, ckpt_path: ${file('first')}, lossconfig: {target: torch.nn.Identity}, ddconfig: ${ddconfig}}`;
  const set = `{target: emulsion.data.InpaintingFolder, params: {data_root: ${file('photos')}, size: 12, masks: {thick: 1, border: 0.5}, max_masked: 0.6}}`;
  // the published model's file, but for its width
  const yaml = `model:
  base_learning_rate: 1.0e-3
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0205
    loss_type: l1
    first_stage_key: image
    cond_stage_key: masked_image
    image_size: 6
    channels: 3
    concat_mode: true
    timesteps: 100
    log_every_t: 50
    monitor: val/loss
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {image_size: 6, in_channels: 7, out_channels: 3, model_channels: 8, num_res_blocks: 1,
        attention_resolutions: [2], channel_mult: [1, 2], num_heads: 2, resblock_updown: true, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.VQModelInterface
      params: ${params}
    cond_stage_config: __is_first_stage__
data:
  target: main.DataModuleFromConfig
  params: {batch_size: 2, num_workers: 0, train: ${set}, validation: ${set}}
lightning:
  trainer: {max_steps: 3}
  callbacks: {image_logger: {params: {batch_frequency: 3, max_images: 2}}}
emulsion: {save_every: 2, validate_every: 3, log_every: 1}
`;

  test('a model of masked pictures from YAML alone, which then fills holes', async () => {
    const stage = buildFirstStage({
      kind: 'vq-interface',
      embedDim: 3,
      nEmbed: 16,
      ddconfig: {
        ...{ ch: 8, outCh: 3, chMult: [1, 2], numResBlocks: 1, inChannels: 3, resolution: 16 },
        ...{ zChannels: 3, doubleZ: false, attnType: 'none', normGroups: 4 },
      },
    });
    await saveFirstStage(file('first'), stage);
    stage.dispose();
    writeFileSync(file('inpainting.yaml'), yaml);
    const said = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => said.mockRestore());
    await train({ command: 'train', base: '--base', trainingOf }, [], {
      config: [file('inpainting.yaml')],
      logdir: file('logs'),
      name: 'tiny',
    });
    const run = file('logs/tiny');
    const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n');
    const numbers = lines.map((line) => JSON.parse(line) as Record<string, number>);
    expect(numbers.some((line) => Number.isFinite(line['val/loss']))).toBe(true);
    expect(readdirSync(join(run, 'images/train')).length).toBeGreaterThan(3);
    const model = await loadLatentDiffusion(join(run, 'model'));
    expect(model.spec).toMatchObject({
      conditioningKey: 'concat',
      conditioner: { kind: 'first-stage' },
    });
    model.dispose();
    await inpaintPictures({
      ...{ model: run, image: file('photos/a.png'), mask: file('masks/a.png'), steps: 2, batch: 1 },
      ...{ sampler: 'ddim', seed: 0, quiet: true, output: file('trained') },
    });
    expect(written('trained')).toEqual(['a.png']);
  });

  test.each([
    ['masks: holes', /masks must be one of wide, thick/],
    ['masks: {thick: -1}', /thick must be a number of at least 0/],
    ['masks: {}', /weights of a mixture/],
    ['masks: {tick: 1}', /tick.*thick/s],
    ['max_masked: 2', /max_masked must be a number from 0 to 1/],
    ['min_masked: 0.6, max_masked: 0.5', /no mask covers/],
  ])('%s is refused with its place', async (line, message) => {
    writeFileSync(
      file('wrong.yaml'),
      yaml.replaceAll(
        'size: 12, masks: {thick: 1, border: 0.5}, max_masked: 0.6',
        `size: 12, ${line}`,
      ),
    );
    const tree = loadConfigTree([file('wrong.yaml')]);
    await expect(tree.then(trainingOf)).rejects.toThrow(message);
    await expect(tree.then(trainingOf)).rejects.toThrow(/wrong\.yaml/);
  });
});
