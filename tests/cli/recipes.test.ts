// The recipes for a folder of one's own, configs/**/folder64-*.yaml: the commands in their headers train them and make
// pictures of what comes out. Nothing is changed but paths, the size of batches, and how long all takes.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { classCommand } from '../../lib/cli/class2img.js';
import { firstStageCommands } from '../../lib/cli/first_stage_commands.js';
import { inpaintCommand } from '../../lib/cli/inpaint.js';
import { layoutCommand } from '../../lib/cli/layout2img.js';
import { sampleCommand } from '../../lib/cli/sample.js';
import { semantic2imgCommand } from '../../lib/cli/semantic2img.js';
import { trainCommand } from '../../lib/cli/train.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import { textCommand } from '../../lib/cli/txt2img.js';
import { upscaleCommand } from '../../lib/cli/upscale.js';
import { loadConfigTree, readImageSize, TextTokenizer } from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { root, source } from '../support/source_tree.js';

const file = temporaryFolder();
const size = { width: 72, height: 68 };

function write(path: string, content: string | Buffer): void {
  mkdirSync(dirname(file(path)), { recursive: true });
  writeFileSync(file(path), content);
}

/** Files that the commands name. */
const files = ['instances.json', 'scene.json', 'small.png', 'photo.png', 'hole.png'];

/** The commands in the header of a file, as words. */
function commandsOf(path: string): string[][] {
  const comment = source(path).match(/^(#.*\n)+/)![0];
  const text = comment.replaceAll(/^# ?/gm, '').replaceAll('\\\n', ' ');
  const lines = text.split('\n').filter((line) => line.startsWith('  emulsion '));
  const words = (line: string) => line.trim().match(/"[^"]*"|\S+/g)!;
  return lines.map((line) => words(line).map((word) => word.replaceAll('"', '')));
}

const quick = [
  'data.params.batch_size=2',
  'data.params.num_workers=0',
  'lightning.trainer.max_steps=1',
];
const stage = 'model.params.first_stage_config.params.ckpt_path';

async function run(
  [, name, ...args]: string[],
  output: string,
  given: Record<string, string>,
): Promise<void> {
  const commands = [
    ...[trainCommand(), sampleCommand(), textCommand(), classCommand(), layoutCommand()],
    ...[semantic2imgCommand(), upscaleCommand(), inpaintCommand(), ...firstStageCommands()],
  ];
  const here = args.map((word, i) => {
    if (args[i - 1] === '-o') return output;
    if (word.startsWith('logs/')) return file(word);
    return Object.entries(given).reduce((text, [from, to]) => text.replace(from, to), word);
  });
  if (name === 'train') {
    here.push('--logdir', file('logs'), ...quick);
    if (args[0] !== 'first-stage') here.push(`${stage}=${file('logs/folder64-kl-f4/model')}`);
  } else if (name !== 'reconstruct') here.push('--steps', '2');
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  onTestFinished(() => log.mockRestore());
  await commands.find((each) => each.name() === name)!.parseAsync(here, { from: 'user' });
  expect(process.exitCode ?? 0).toBe(0);
}

beforeAll(async () => {
  const numbers = [0, 1, 2];
  for (const i of numbers) {
    await writePicture(file(`photos/${i}.png`), i, size);
    await writePicture(file(`captioned/${i}.png`), i, size);
    write(`captioned/${i}.txt`, 'a red fox\n');
    await writePicture(file(`scenes/images/${i}.png`), i, size);
    const map = Uint8Array.from({ length: size.width * size.height }, (_, at) => (at >> 5) % 32);
    const png = sharp(map, { raw: { ...size, channels: 1 } })
      .toColourspace('b-w')
      .png();
    write(`scenes/annotations/${i}.png`, await png.toBuffer());
  }
  // As many classes as the recipe has.
  for (let i = 0; i < 10; ++i) await writePicture(file(`classes/class${i}/0.png`), i, size);
  await writePicture(file('small.png'), 7, { width: 18, height: 15 });
  await writePicture(file('photo.png'), 8, size);
  const hole = { ...size, channels: 3, background: '#fff' } as const;
  write('hole.png', await sharp({ create: hole }).png().toBuffer());
  mkdirSync(file('tokenizer'));
  await TextTokenizer.fromTexts(['a red fox'], { length: 77 }).save(file('tokenizer'));
  const box = { category_id: 1, bbox: [8, 8, 30, 40], iscrowd: 0 };
  write(
    'instances.json',
    JSON.stringify({
      categories: [{ id: 1, name: 'dog' }],
      images: numbers.map((id) => ({ id, file_name: `${id}.png`, ...size })),
      annotations: numbers.map((id) => ({ id, image_id: id, ...box })),
    }),
  );
  write('scene.json', JSON.stringify({ boxes: [{ category: 'dog', box: [0.1, 0.4, 0.5, 0.6] }] }));
});

// The autoencoder comes first: all others are trained on it.
const recipes: [
  path: string,
  picture: string,
  height: number,
  width: number,
  given: Record<string, string>,
][] = [
  ['first_stage/folder64-kl-f4', '0.png', size.height, size.width, {}],
  ['folder64-ldm', 'grid-000000.png', 68, 4 * 66 + 2, {}],
  ['folder64-class', 'grid-000000.png', 68, 4 * 66 + 2, { FOLDER: 'classes', NAME: 'class3' }],
  ['folder64-text', 'grid-000000.png', 68, 4 * 66 + 2, { FOLDER: 'captioned' }],
  ['folder64-layout', '000003.png', 64, 64, {}],
  // The shorter side has 128 pixels.
  ['folder64-semantic', '000000.png', 128, 136, { FOLDER: 'scenes' }],
  ['folder64-upscale', 'small.png', 60, 72, {}],
  ['folder64-class-adm', 'grid-000000.png', 68, 4 * 66 + 2, { FOLDER: 'classes', NAME: 'class3' }],
  ['folder64-inpainting', 'photo.png', size.height, size.width, {}],
  ['folder64-inpainting-text', 'photo.png', size.height, size.width, { FOLDER: 'captioned' }],
];

test.each(recipes)('%s', async (path, picture, height, width, given) => {
  const commands = commandsOf(`configs/${path}.yaml`);
  expect(commands.map(([, name]) => name === 'train')).toEqual([true, false]);
  const made = file(`made/${basename(path)}`);
  for (const command of commands)
    await run(command, made, {
      ...{ ...given, FOLDER: file(given.FOLDER ?? 'photos') },
      'bert-base-uncased/vocab.txt': file('tokenizer'),
      ...Object.fromEntries(files.map((name) => [name, file(name)])),
    });
  expect(await readImageSize(join(made, picture))).toEqual({ height, width });
});

/** Files of one kind in the folders of recipes. */
const filesOf = (kind: string): string[] =>
  ['configs', 'configs/first_stage']
    .flatMap((folder) => readdirSync(join(root, folder)))
    .filter((name) => name.startsWith(kind))
    .sort();

test('none is left out', () => {
  expect(recipes.map(([path]) => `${basename(path)}.yaml`).sort()).toEqual(filesOf('folder64-'));
});

// Data alone, at the size of the published models.
const published: [data: string, model: string][] = [
  ['inpainting', 'inpainting_big'],
  ['semantic', 'semantic_synthesis256'],
];

test.each(published)('folder256-%s gives data to %s', async (data, model) => {
  const files = [`latent_diffusion/${model}.yaml`, `folder256-${data}.yaml`];
  const tree = await loadConfigTree(files.map((name) => join(root, 'configs', name)));
  const training = trainingOf(tree);
  expect(training.learningRate).toBeCloseTo(8e-6, 12);
  // All is understood but for where the pictures are.
  await expect(training.build()).rejects.toThrow('data.params.train.params.data_root=FOLDER');
});

test('nor is one of these', () => {
  const names = [...new Set(published.map(([data]) => `folder256-${data}.yaml`))];
  expect(names.sort()).toEqual(filesOf('folder256-'));
});
