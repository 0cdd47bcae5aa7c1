// `emulsion upscale`: which files come out, and calls that make no sense.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import type { UpscaleCommandOptions } from '../../lib/cli/upscale.js';
import { upscalePictures } from '../../lib/cli/upscale_pictures.js';
import {
  loadLatentDiffusion,
  readImage,
  readImageSize,
  saveLatentDiffusion,
  tidy,
  upscale,
  writeImage,
  type LatentDiffusionSpec,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { semanticSpec } from '../ldm/tasks/semantic_spec.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { emulsion } from './emulsion.js';

const inFolder = temporaryFolder();
const bytes = (path: string) => readFileSync(inFolder(path));
const spec = {
  ...plainSpec({ diffusion: { timesteps: 20 } }),
  unet: { ...plainSpec().unet, inChannels: 6 },
  conditioner: { kind: 'identity' },
  conditioningKey: 'concat',
} as const;

beforeAll(async () => {
  await saveLatentDiffusion(inFolder('model'), await shaken(spec));
  await saveLatentDiffusion(inFolder('plain'), await shaken(plainSpec()));
  await saveLatentDiffusion(inFolder('classes'), await shaken(tinySpec()));
  await writePicture(inFolder('pictures/a.png'), 1, { width: 7, height: 5 });
  await writePicture(inFolder('pictures/b.jpg'), 2, { width: 7, height: 5 });
  await writePicture(inFolder('pictures/c.png'), 3, { width: 1, height: 1 });
});

const call = (inputs: string[], folder: string, options: Partial<UpscaleCommandOptions> = {}) =>
  upscalePictures(
    inputs.map((name) => inFolder(name)),
    {
      ...{ model: inFolder('model'), sampler: 'ddim', steps: 2, seed: 0, batch: 1, quiet: true },
      ...{ background: 'white', output: inFolder(folder), ...options },
    },
  );

describe('pictures', () => {
  test('of a folder are enlarged under their names, whatever their sizes', async () => {
    await call(['pictures'], 'large');
    const files = ['a.png', 'b.png', 'c.png', 'sampling_config.json'];
    expect(readdirSync(inFolder('large'))).toEqual(files);
    expect(JSON.parse(bytes('large/sampling_config.json').toString())).toMatchObject([
      { count: 3, sampler: 'ddim', steps: 2, eta: 1, background: 'white' },
    ]);
    const sizes = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const { width, height } = await sharp(inFolder(`large/${name}.png`)).metadata();
        return [width, height];
      }),
    );
    expect(sizes).toEqual([
      [14, 10],
      [14, 10],
      [2, 2],
    ]);
  });

  test('do not depend on each other, but on the seed, steps, eta and sampler', async () => {
    await call(['pictures'], 'together');
    // The second picture has the second seed.
    await call(['pictures/b.jpg'], 'alone', { seed: 1 });
    expect(bytes('together/b.png')).toEqual(bytes('alone/b.png'));
    const others = { seeded: { seed: 2 }, longer: { steps: 4 }, calm: { eta: 0 } };
    for (const [name, options] of Object.entries({
      ...others,
      solved: { sampler: 'dpm++' as const },
    })) {
      await call(['pictures/b.jpg'], name, { seed: 1, ...options });
      expect(bytes(`${name}/b.png`), name).not.toEqual(bytes('alone/b.png'));
    }
  });

  test('are what the library makes of them', async () => {
    await call(['pictures/a.png'], 'command');
    const model = await loadLatentDiffusion(inFolder('model'));
    await tidy(async () => {
      const image = (await readImage(inFolder('pictures/a.png'))).reshape([1, 5, 7, 3]);
      const large = await upscale(model, { image, steps: 2, seed: [0] });
      await writeImage(inFolder('library.png'), large);
    });
    model.dispose();
    expect(bytes('command/a.png')).toEqual(bytes('library.png'));
  });

  test('of 64 pixels have 256 by a model of four times, as the published one', async () => {
    const { unet, ...ofMaps } = semanticSpec(3);
    const four: LatentDiffusionSpec = {
      ...ofMaps,
      unet: { ...unet, imageSize: 64, attentionResolutions: [2] },
      conditioner: { kind: 'identity' },
      conditionerTrainable: false,
    };
    const model = await shaken(four);
    await saveLatentDiffusion(inFolder('four'), model);
    await writePicture(inFolder('small.png'), 5, { width: 64, height: 64 });
    const options = ['--model', inFolder('four'), '--steps', '2', '--seed', '3'];
    const ended = await emulsion([
      'upscale',
      inFolder('small.png'),
      ...options,
      '-o',
      inFolder('x4'),
    ]);
    expect([ended.status, ended.stderr]).toEqual([0, '']);
    expect(await readImageSize(inFolder('x4/small.png'))).toEqual({ height: 256, width: 256 });
    await tidy(async () => {
      const image = (await readImage(inFolder('small.png'))).reshape([1, 64, 64, 3]);
      const large = await upscale(model, { image, steps: 2, seed: [3] });
      expect(large.shape).toEqual([1, 256, 256, 3]);
      await writeImage(inFolder('x4.png'), large);
    });
    model.dispose();
    expect(bytes('x4/small.png')).toEqual(bytes('x4.png'));
  });

  test('show the background where they are transparent', async () => {
    const raw = { width: 4, height: 4, channels: 4 } as const;
    const clear = Buffer.alloc(64);
    const grey = Buffer.alloc(64, 128);
    await sharp(clear, { raw }).png().toFile(inFolder('clear.png'));
    await sharp(grey.fill(255), { raw }).png().toFile(inFolder('white.png'));
    await call(['clear.png', 'white.png'], 'backgrounds');
    await call(['white.png'], 'white', { seed: 0 });
    expect(bytes('backgrounds/clear.png')).toEqual(bytes('white/white.png'));
    await call(['clear.png'], 'red', { background: '#f00' });
    expect(bytes('red/clear.png')).not.toEqual(bytes('backgrounds/clear.png'));
  });

  test('that exist are overwritten only with --force', async () => {
    await call(['pictures/c.png'], 'again');
    const before = bytes('again/c.png');
    await expect(call(['pictures/c.png'], 'again', { seed: 9 })).rejects.toThrow(/--force/);
    expect(bytes('again/c.png')).toEqual(before);
    await call(['pictures/c.png'], 'again', { seed: 9, force: true });
    expect(bytes('again/c.png')).not.toEqual(before);
  });
});

describe('what makes no sense is refused before anything is written', () => {
  test.each<[string, string[], Partial<UpscaleCommandOptions>, RegExp]>([
    [
      'a model of nothing',
      ['pictures/a.png'],
      { model: inFolder('plain') },
      /plain is conditioned on nothing\. Use emulsion sample\./,
    ],
    [
      'a model of classes',
      ['pictures/a.png'],
      { model: inFolder('classes') },
      /conditioned on classes\. Use emulsion class2img\./,
    ],
    ['a preset of inpainting', ['pictures/a.png'], { preset: 'inpainting_big' }, /is a folder/],
    ['a picture that is not there', ['nowhere.png'], {}, /nowhere\.png: cannot be read/],
    ['a folder without pictures', ['model'], {}, /holds no pictures/],
    ['two of one name', ['pictures/a.png', 'pictures/a.png'], {}, /'a\.png' comes twice/],
    [
      'one grid of several sizes',
      ['pictures'],
      { grid: true },
      /pictures of one size, these have 5 x 7, 1 x 1: leave them out/,
    ],
    ['no colour', ['pictures/a.png'], { background: 'reddish' }, /"reddish" is no colour/],
    ['more steps than there are', ['pictures/a.png'], { steps: 21 }, /with 20 timesteps/],
    ['eta of a solver', ['pictures/a.png'], { sampler: 'dpm++', eta: 1 }, /has no --eta/],
    ['steps of ddpm', ['pictures/a.png'], { sampler: 'ddpm' }, /leave --steps out/],
  ])('%s', async (_what, inputs, options, message) => {
    await expect(call(inputs, 'refused', options)).rejects.toThrow(message);
    expect(existsSync(inFolder('refused'))).toBe(false);
  });

  test('a picture over itself', async () => {
    const before = bytes('pictures/a.png');
    await expect(call(['pictures/a.png'], 'pictures', { force: true })).rejects.toThrow(
      /would overwrite the input/,
    );
    expect(bytes('pictures/a.png')).toEqual(before);
  });

  test('a damaged picture, which leaves no file of its own', async () => {
    mkdirSync(inFolder('damaged'));
    await writePicture(inFolder('damaged/a.png'), 4, { width: 60, height: 60 });
    const whole = bytes('damaged/a.png');
    writeFileSync(inFolder('damaged/z.png'), whole.subarray(0, whole.length - 40));
    await expect(call(['damaged'], 'half')).rejects.toThrow(/z\.png: cannot be read as a picture/);
    expect(readdirSync(inFolder('half'))).toEqual(['a.png', 'sampling_config.json']);
    writeFileSync(inFolder('text.png'), 'no picture');
    await expect(call(['text.png'], 'refused')).rejects.toThrow(/text\.png: cannot be read/);
    expect(existsSync(inFolder('refused'))).toBe(false);
  });
});
