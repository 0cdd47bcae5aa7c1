// The programs of examples/, run as their headers say, on models that were never trained.
import { writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import {
  readImageSize,
  saveLatentDiffusion,
  TextTokenizer,
  type LatentDiffusionSpec,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { semanticSpec } from '../ldm/tasks/semantic_spec.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { runExample } from './run_example.js';

const file = temporaryFolder();

async function saved(name: string, spec: LatentDiffusionSpec): Promise<string> {
  const model = await shaken(spec);
  await saveLatentDiffusion(file(name), model);
  model.dispose();
  return file(name);
}

/** Joins `channels` more to the latents. */
function joining(channels: number, kind: 'identity' | 'first-stage'): LatentDiffusionSpec {
  const spec = plainSpec({ conditioner: { kind }, conditioningKey: 'concat' });
  return { ...spec, unet: { ...spec.unet, inChannels: 3 + channels } };
}

/** Sides of a grid of pictures with its borders. */
const grid = (rows: number, columns: number, height: number, width = height) => ({
  height: rows * (height + 2) + 2,
  width: columns * (width + 2) + 2,
});

/** Runs a program, which must name the picture that it wrote, of this size. */
async function draws(
  size: { height: number; width: number },
  name: string,
  ...args: string[]
): Promise<string> {
  const picture = args.at(-1)!;
  const said = await runExample(name, ...args);
  expect(said).toContain(picture);
  expect(await readImageSize(picture)).toEqual(size);
  return said;
}

test('unconditional', async () => {
  const model = await saved('plain', plainSpec());
  await draws(grid(3, 4, 16), 'unconditional', model, file('plain.png'));
});

test('class_to_image', async () => {
  const model = await saved('classes', tinySpec());
  writeFileSync(file('classes/classes.txt'), 'bear\ncat\notter\nrat\n');
  await draws(grid(3, 4, 16), 'class_to_image', model, 'otter', file('otters.png'));
  await expect(runExample('class_to_image', model)).rejects.toThrow(/give the folder of a model/);
});

test('class_to_image, of classes in the time embedding', async () => {
  const spec = plainSpec({ conditioner: { kind: 'identity' }, conditioningKey: 'adm' });
  const unet = { ...spec.unet, numClasses: 5 };
  const model = await saved('adm', { ...spec, unet, unconditionalClass: 4 });
  writeFileSync(file('adm/classes.txt'), 'bear\ncat\notter\nrat\n');
  await draws(grid(3, 4, 16), 'class_to_image', model, 'otter', file('adm.png'));
});

const tokenizer = TextTokenizer.fromTexts(['a red fox'], { length: 8 });
const { vocabSize } = tokenizer;
const bert = { kind: 'bert', nEmbed: 6, nLayer: 1, vocabSize, maxSeqLen: 8 } as const;

test('text_to_image', async () => {
  const model = await saved('texts', tinySpec({ conditioner: bert }));
  await tokenizer.save(model);
  const said = await draws(grid(2, 2, 16), 'text_to_image', model, 'a red fox', file('foxes.png'));
  expect(said).toMatch(/^step 1 of 50\n[^]*step 50 of 50\n/);
});

test('layout_to_image', async () => {
  const sizes = { nEmbed: 6, nLayer: 1, vocabSize: 104, maxSeqLen: 11 };
  const conditioner = { kind: 'bert', useTokenizer: false, ...sizes } as const;
  const model = await saved('layouts', tinySpec({ conditioner }));
  writeFileSync(file('layouts/classes.txt'), 'ball\ndog\n');
  const boxes = ['dog:0.1,0.4,0.4,0.5', 'ball:0.7,0.7,0.2,0.2'];
  const options = ['--count', '3', '--steps', '2', '--out', file('layouts.png')];
  await draws(grid(2, 3, 256), 'layout_to_image', model, ...boxes, ...options);
});

test('semantic_to_image', async () => {
  const model = await saved('maps', semanticSpec(5));
  const raw = { width: 40, height: 36, channels: 1 } as const;
  const map = Uint8Array.from({ length: 40 * 36 }, (_, i) => (i >> 3) % 5);
  await sharp(map, { raw }).toColourspace('b-w').png().toFile(file('map.png'));
  const options = ['--count', '2', '--steps', '2', '--out', file('scene.png')];
  await draws(grid(1, 2, 36, 40), 'semantic_to_image', model, file('map.png'), ...options);
});

test('upscale', async () => {
  const model = await saved('small', joining(3, 'identity'));
  await writePicture(file('picture.png'), 1, { width: 15, height: 11 });
  const options = ['--count', '2', '--steps', '2', '--out', file('large.png')];
  const picture = file('picture.png');
  await draws(grid(1, 3, 22, 30), 'upscale', model, picture, ...options);
  const known = ['--degrade', 'bsrgan_light', ...options];
  const said = await draws(grid(1, 4, 10, 14), 'upscale', model, picture, ...known);
  expect(said).toMatch(/"kind":"jpeg"[^]*bicubic: [\d.]+ dB\nresult 1: /);
});

test('inpaint', async () => {
  const model = await saved('masked', joining(4, 'first-stage'));
  await writePicture(file('photo.png'), 2, { width: 18, height: 13 });
  const options = ['--count', '2', '--steps', '2', '--out', file('filled.png')];
  await draws(grid(1, 4, 13, 18), 'inpaint', model, file('photo.png'), ...options);
});

test('inpaint, as a text asks', async () => {
  const spec = tinySpec({
    conditioner: { kind: 'hybrid', concat: { kind: 'first-stage' }, crossattn: bert },
    conditioningKey: 'hybrid',
  });
  const model = await saved('asked', { ...spec, unet: { ...spec.unet, inChannels: 7 } });
  await tokenizer.save(model);
  await writePicture(file('scene.png'), 3, { width: 18, height: 13 });
  const options = ['--prompt', 'a red fox', '--count', '2', '--steps', '2'];
  const out = ['--out', file('foxes-filled.png')];
  await draws(grid(1, 4, 13, 18), 'inpaint', model, file('scene.png'), ...options, ...out);
});

test('masks', async () => {
  const said = await runExample(
    'masks',
    '--count',
    '2',
    '--size',
    '24',
    '--out',
    file('masks.png'),
  );
  const families = said.trim().split(', ').length;
  expect(families).toBeGreaterThan(3);
  const { height, width } = await readImageSize(file('masks.png'));
  expect([height, width]).toEqual([families * 27 + 3, 2 * 27 + 3]);
});

test('degradations', async () => {
  await draws({ height: 608, width: 1008 }, 'degradations', '--out', file('degradations.png'));
});
