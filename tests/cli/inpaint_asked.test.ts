// `emulsion inpaint` as asked, by texts and classes: a model of masked pictures and captions from the recipes alone,
// and models of texts or classes that are led by what is known.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { InpaintCommandOptions } from '../../lib/cli/inpaint.js';
import { inpaintPictures } from '../../lib/cli/inpaint_pictures.js';
import { refuseOtherTask } from '../../lib/cli/other_task.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildFirstStage,
  loadLatentDiffusion,
  manualSeed,
  saveFirstStage,
  saveLatentDiffusion,
  TextTokenizer,
  type ConditionerSpec,
  type HybridSpec,
  type LatentDiffusionSpec,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { root } from '../support/source_tree.js';

const file = temporaryFolder();
const captions = ['a red fox', 'a blue hen', 'red hen'];
const tokenizer = TextTokenizer.fromTexts(captions, { length: 8 });
const bert = {
  kind: 'bert',
  nEmbed: 6,
  nLayer: 1,
  vocabSize: tokenizer.vocabSize,
  maxSeqLen: 8,
} as const satisfies ConditionerSpec;

const hybridSpec = (crossattn: HybridSpec['crossattn']) =>
  tinySpec({
    unet: { ...tinySpec().unet, inChannels: 7 },
    conditioner: { kind: 'hybrid', concat: { kind: 'first-stage' }, crossattn },
    conditioningKey: 'hybrid',
  });
const admSpec = (): LatentDiffusionSpec => ({
  ...plainSpec({ conditioner: { kind: 'identity' }, conditioningKey: 'adm' }),
  unet: { ...plainSpec().unet, numClasses: 3 },
});

const save = async (name: string, spec: LatentDiffusionSpec) => {
  const model = await shaken(spec);
  await saveLatentDiffusion(file(name), model);
  model.dispose();
  await tokenizer.save(file(name));
};

const [width, height] = [18, 13];
const isHole = (pixel: number) => pixel % width >= 8;

beforeAll(async () => {
  manualSeed(1);
  mkdirSync(file('captioned'));
  for (const [i, text] of captions.entries()) {
    await writePicture(file(`captioned/${i}.png`), i, { width: 20, height: 20 });
    writeFileSync(file(`captioned/${i}.txt`), text);
  }
  await writePicture(file('photo.png'), 4, { width, height });
  const white = Uint8Array.from({ length: width * height }, (_, i) => (isHole(i) ? 255 : 0));
  await sharp(white, { raw: { width, height, channels: 1 } }).toFile(file('mask.png'));
  mkdirSync(file('tokenizer'));
  await tokenizer.save(file('tokenizer'));
  await save('both', hybridSpec(bert));
  await save('texts', tinySpec({ conditioner: bert }));
  await save('classes', tinySpec());
  await save('adm', admSpec());
  await save(
    'embeddings',
    tinySpec({ conditioner: { kind: 'identity' }, conditionerTrainable: false }),
  );
  await save('plain', plainSpec());
});

const run = (options: Partial<InpaintCommandOptions> & { output: string }) =>
  inpaintPictures({
    ...{ model: file('both'), image: file('photo.png'), mask: file('mask.png'), seed: 0 },
    ...{ batch: 4, sampler: 'ddim', steps: 2, quiet: true, force: true },
    ...options,
    output: file(options.output),
  });
const pixels = (path: string) => sharp(file(path)).raw().toBuffer();
const settings = (folder: string) =>
  (JSON.parse(readFileSync(file(`${folder}/sampling_config.json`), 'utf8')) as object[]).at(-1);

describe.each(['both', 'texts'])('a model of %s', (model) => {
  const made = async (output: string, options: Partial<InpaintCommandOptions>) => {
    await run({ model: file(model), ...options, output: `${model}-${output}` });
    return pixels(`${model}-${output}/photo.png`);
  };

  test('a prompt changes the filling, and nothing outside', async () => {
    const before = await pixels('photo.png');
    const fox = await made('fox', { prompt: 'red fox', guidance: 20 });
    const hen = await made('hen', { prompt: 'hen', guidance: 20 });
    let changed = 0;
    fox.forEach((byte, i) => {
      if (!isHole(Math.floor(i / 3))) expect([byte, hen[i]]).toEqual([before[i], before[i]]);
      else changed += byte === hen[i] ? 0 : 1;
    });
    expect(changed).toBeGreaterThan(20);
    expect(settings(`${model}-fox`)).toMatchObject({ prompt: 'red fox', guidance: 20 });
  });

  test('without one it makes what fits, unguided', async () => {
    const plain = await made('plain', {});
    expect(await made('empty', { prompt: '', guidance: 1 })).toEqual(plain);
    expect(await made('led', { prompt: 'red fox', guidance: 20 })).not.toEqual(plain);
  });

  test('is led away from a negative text', async () => {
    const options = { prompt: 'red fox', guidance: 20 };
    const usual = await made('usual', options);
    expect(await made('away', { ...options, negative: 'hen' })).not.toEqual(usual);
    expect(settings(`${model}-away`)).toMatchObject({ negative: 'hen', guidance: 20 });
  });

  test('is told once that its text is too long, whatever the number of pictures', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    mkdirSync(file('photos'), { recursive: true });
    for (const name of ['a', 'b', 'c'])
      await writePicture(file(`photos/${name}.png`), 5, { width, height });
    const prompt = 'a red fox beside a red hen';
    await run({ model: file(model), image: file('photos'), prompt, output: `${model}-long` });
    expect(readdirSync(file(`${model}-long`))).toContain('c.png');
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/has 7 tokens, and 6 fit/)]]);
  });

  test.each<[string, Partial<InpaintCommandOptions>, RegExp]>([
    [
      'a class',
      { class: '1' },
      /conditioned on texts: ask for one with --prompt; leave --class out/,
    ],
    ['guidance of nothing', { guidance: 2 }, /strengthens a text: give --prompt; leave --guidance/],
    ['a negative without guidance', { prompt: 'a', negative: 'b', guidance: 1 }, /is none/],
    ['a tokenizer that is not there', { prompt: 'a', tokenizer: file('none') }, /none/],
  ])('refuses %s', async (_, options, message) => {
    await expect(made('refused', options)).rejects.toThrow(message);
  });
});

describe('models of classes', () => {
  test.each(['classes', 'adm'])('%s: the class asked for fills the hole', async (model) => {
    const options = { model: file(model), output: `${model}-one` };
    await run({ ...options, class: '1' });
    const one = await pixels(`${model}-one/photo.png`);
    await run({ ...options, class: '0' });
    expect(await pixels(`${model}-one/photo.png`)).not.toEqual(one);
    const guidance = model === 'adm' ? 1 : 3;
    expect(settings(`${model}-one`)).toMatchObject({ class: '0', guidance });
    await expect(run({ ...options, prompt: 'fox' })).rejects.toThrow(/ask for one with --class/);
    await expect(run({ ...options, class: '9' })).rejects.toThrow(/no class '9'/);
  });

  test('without a class: the one that means none, if there is one', async () => {
    await run({ model: file('classes'), output: 'classes-none' });
    const options = { model: file('adm'), output: 'adm-none' };
    await expect(run(options)).rejects.toThrow(/none of which means "none": say with --class/);
    const guided = { ...options, class: '1', guidance: 2 };
    await expect(run(guided)).rejects.toThrow(/no class of a network with numClasses/);
  });
});

test.each<[string, Partial<InpaintCommandOptions>, RegExp]>([
  ['plain', { prompt: 'fox' }, /no condition to be asked for; leave --prompt out/],
  ['plain', { class: '1', negative: 'a' }, /leave --negative and --class out/],
  ['embeddings', {}, /conditioned on embeddings of another network.*In a program/],
])('%s: refuses %j', async (model, options, message) => {
  await expect(run({ model: file(model), output: 'refused', ...options })).rejects.toThrow(message);
});

test("other commands say which is the model's", () => {
  const refused = (spec: LatentDiffusionSpec) => () => refuseOtherTask('it', spec, 'sample');
  expect(refused(hybridSpec(bert))).toThrow(
    /masked pictures and texts at once\. Use emulsion inpaint/,
  );
  const classes = hybridSpec({ kind: 'class', embedDim: 6, nClasses: 4 });
  expect(refused(classes)).toThrow(/maps and tokens at once\. In a program/);
  expect(refused(admSpec())).toThrow(/conditioned on classes\. Use emulsion class2img/);
});

describe('training', () => {
  const narrow = (set: string) => `model:
  params:
    image_size: 8
    timesteps: 100
    log_every_t: 50
    unet_config:
      params: {image_size: 8, model_channels: 8, attention_resolutions: [1], num_res_blocks: 1, channel_mult: [1, 2],
               num_head_channels: 4, context_dim: 8, norm_groups: 4}
    first_stage_config:
      params:
        ckpt_path: ${file('first')}
        ddconfig: {resolution: 16, ch: 8, ch_mult: [1, 2], norm_groups: 4}
    cond_stage_config:
      params: {c_crossattn_config: {params: {n_embed: 8, n_layer: 1, vocab_size: ${tokenizer.vocabSize}, max_seq_len: 8}}}
data:
  params: {batch_size: 2, num_workers: 0, train: {${set}}}
lightning:
  trainer: {max_steps: 2}
  callbacks: {image_logger: {params: {batch_frequency: 2, max_images: 1}}}
`;
  const params = `size: 16, data_root: ${file('captioned')}`;
  const training = (name: string, set: string) => {
    writeFileSync(file(`${name}.yaml`), narrow(set));
    const recipes = ['folder64-ldm.yaml', 'folder64-inpainting-text.yaml'];
    return train({ command: 'train', base: '--base', trainingOf }, [], {
      ...{ logdir: file('logs'), name },
      config: [...recipes.map((recipe) => join(root, 'configs', recipe)), file(`${name}.yaml`)],
    });
  };

  beforeAll(async () => {
    const stage = buildFirstStage({
      kind: 'kl',
      embedDim: 3,
      ddconfig: {
        ...{ ch: 8, outCh: 3, chMult: [1, 2], numResBlocks: 1, inChannels: 3, resolution: 16 },
        ...{ zChannels: 3, normGroups: 4 },
      },
    });
    await saveFirstStage(file('first'), stage);
    stage.dispose();
  });

  test('on pictures with holes and captions, by the recipe; its folder is all that inpaint needs', async () => {
    const said = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => said.mockRestore());
    await training('asked', `params: {${params}, tokenizer: ${file('tokenizer')}}`);
    expect(readdirSync(file('logs/asked/images/train')).length).toBeGreaterThan(3);
    const model = await loadLatentDiffusion(file('logs/asked/model'));
    expect(model.spec.conditioner).toMatchObject({ kind: 'hybrid', crossattn: { kind: 'bert' } });
    model.dispose();
    await run({ model: file('logs/asked'), prompt: 'a red fox', output: 'trained' });
    expect(settings('trained')).toMatchObject({ prompt: 'a red fox', guidance: 5 });
  });

  test('is refused data of one kind alone', async () => {
    const set = `target: emulsion.data.CaptionedFolder, params: {${params}, masks: wide}`;
    await expect(training('unmasked', set)).rejects.toThrow(/masks/);
    const list = `target: emulsion.data.InpaintingCaptionList, params: {${params}, list: ${file('none.csv')}}`;
    await expect(training('listed', list)).rejects.toThrow();
  });
});
