// Models of texts and classes as people make them: the published configurations, narrowed, trained on a handful of
// pictures, then asked for pictures.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { ClassCommandOptions } from '../../lib/cli/class2img.js';
import { classPictures } from '../../lib/cli/class2img_pictures.js';
import { convert } from '../../lib/cli/convert_checkpoint.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import type { TextCommandOptions } from '../../lib/cli/txt2img.js';
import { textPictures } from '../../lib/cli/txt2img_pictures.js';
import {
  buildFirstStage,
  diffusionModelTargets,
  firstStagePresets,
  loadConfigTree,
  loadLatentDiffusion,
  readImageSize,
  readModel,
  saveFirstStage,
  saveLatentDiffusion,
  tensor,
  TextTokenizer,
  writeSafetensors,
  type FirstStageSpec,
  type Tensor,
  type TensorSource,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinyClip } from '../ldm/conditioning/vocabularies.js';
import { int64, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { root } from '../support/source_tree.js';

const file = temporaryFolder();
const captions = ['a red fox', 'a blue hen\nthe hen', 'red hen', 'fox'];
const tokenizer = TextTokenizer.fromTexts(captions, { length: 8 });
const shared = { batch: 4, sampler: 'ddim', steps: 2, seed: 0, quiet: true } as const;

function write(path: string, content: string): string {
  mkdirSync(dirname(file(path)), { recursive: true });
  writeFileSync(file(path), content);
  return file(path);
}

const read = (path: string): string => readFileSync(file(path), 'utf8');

/** A first stage like the published one with few channels, f = 4, never trained. */
async function firstStage(name: 'vq-f4' | 'vq-f8'): Promise<string> {
  const preset = firstStagePresets[name] as FirstStageSpec & { kind: 'vq' };
  const ddconfig = { ...preset.ddconfig, ch: 8, chMult: [1, 1, 1], numResBlocks: 1, normGroups: 4 };
  const narrow = { ...ddconfig, resolution: 32, attnResolutions: [] };
  const stage = buildFirstStage({ ...preset, nEmbed: 16, ddconfig: narrow });
  await saveFirstStage(file(name), stage);
  stage.dispose();
  return file(name);
}

/** What narrows a published configuration. */
const narrowed = (
  firstStagePath: string,
  conditioner: string,
  set: string,
  logger = 'max_images: 1',
) => `model:
  params:
    image_size: 8
    timesteps: 100
    log_every_t: 50
    unconditional_probability: 0.2
    unet_config:
      params: {image_size: 8, model_channels: 16, num_res_blocks: 1, attention_resolutions: [1],
               channel_mult: [1, 2], num_head_channels: 8, context_dim: 8, norm_groups: 4}
    first_stage_config:
      params:
        n_embed: 16
        ckpt_path: ${firstStagePath}
        ddconfig: {resolution: 32, ch: 8, ch_mult: [1, 1, 1], num_res_blocks: 1, attn_resolutions: [],
                   norm_groups: 4}
    cond_stage_config: {params: ${conditioner}}
data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 2
    num_workers: 1
    train: ${set}
    validation: ${set}
lightning:
  trainer: {max_steps: 2}
  callbacks: {image_logger: {target: main.ImageLogger, params: {batch_frequency: 2, ${logger}}}}
`;

const published = (name: string): string => join(root, `configs/latent_diffusion/${name}.yaml`);

const run = (name: string, narrow: string) =>
  train({ command: 'train', base: '--base', trainingOf }, [], {
    logdir: file('logs'),
    name,
    config: [published(name), write(`${name}.yaml`, narrow)],
  });

beforeAll(async () => {
  for (const [i, text] of captions.entries()) {
    await writePicture(file(`captioned/${i}.png`), i, { width: 32, height: 32 });
    write(`captioned/${i}.txt`, text);
    await writePicture(file(`net/n0${1 + (i % 2)}/${i}.png`), i, { width: 40, height: 32 });
  }
  mkdirSync(file('tokenizer'));
  await tokenizer.save(file('tokenizer'));
  write('words.txt', 'n01 red fox, Vulpes vulpes\nn02 hen\n');
});

describe('text2img256', () => {
  const pictures = (prompts: string[], options: Partial<TextCommandOptions>) =>
    textPictures(prompts, {
      ...{ ...shared, model: file('logs/text2img256'), count: 1, output: file('texts') },
      ...options,
    });

  test('trains on captions, and its folder is all that txt2img needs', async () => {
    const set = `{target: emulsion.data.CaptionedFolder, params: {data_root: ${file('captioned')}, size: 32, tokenizer: ${file('tokenizer')}}}`;
    const conditioner = `{n_embed: 8, n_layer: 1, vocab_size: ${tokenizer.vocabSize}, max_seq_len: 8}`;
    await run('text2img256', narrowed(await firstStage('vq-f4'), conditioner, set));
    expect(readdirSync(file('logs/text2img256/model'))).toContain('tokenizer.json');
    const opened = await TextTokenizer.open(file('logs/text2img256/model'));
    expect(opened.vocabulary).toEqual(tokenizer.vocabulary);

    await pictures(['a red fox', 'hen'], { count: 2, grid: true, negative: 'blue', seed: 7 });
    expect(await readImageSize(file('texts/grid-000000.png'))).toEqual({ height: 70, width: 70 });
    expect(JSON.parse(read('texts/sampling_config.json'))).toMatchObject([
      { count: 4, guidance: 5, prompts: ['a red fox', 'hen'], perPrompt: 2, negative: 'blue' },
    ]);
    await pictures(['hen'], { size: [64, 32], output: file('wide') });
    expect(await readImageSize(file('wide/000000.png'))).toEqual({ height: 32, width: 64 });
  });

  test('warns of texts that are too long, once for each', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    await pictures(['fox fox fox fox fox fox fox'], { count: 5, output: file('long') });
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/7 tokens, and 6 fit[^]*left out: 'fox'/)],
    ]);
  });

  test.each<[string, string[], Partial<TextCommandOptions>, RegExp]>([
    ['nothing', [], {}, /give a text/],
    ['two kinds of texts', ['a'], { fromFile: 'x.txt' }, /either in the call or with --from-file/],
    ['a file that is not there', [], { fromFile: 'nowhere.txt' }, /nowhere\.txt/],
    ['a negative without guidance', ['a'], { negative: 'b', guidance: 1 }, /--guidance 1 is none/],
    [
      'an odd size',
      ['a'],
      { size: [32, 36] },
      /multiples of 8 pixels for this model. Got 36 and 32/,
    ],
  ])('refuses %s', async (name, prompts, options, message) => {
    await expect(pictures(prompts, { output: file(name), ...options })).rejects.toThrow(message);
    expect(existsSync(file(name))).toBe(false);
  });

  test('refuses an empty file, and a model of classes', async () => {
    await expect(pictures([], { fromFile: write('none.txt', '\n') })).rejects.toThrow(
      'holds no text',
    );
    const model = await shaken(tinySpec());
    await saveLatentDiffusion(file('classes'), model);
    model.dispose();
    await expect(pictures(['a'], { model: file('classes') })).rejects.toThrow(
      /conditioned on classes\. Use emulsion class2img/,
    );
  });

  test('is refused data without captions, or a tokenizer that is not its own', async () => {
    const stage = file('vq-f4');
    const small = '{n_embed: 8, n_layer: 1, vocab_size: 104, max_seq_len: 8}';
    const target = 'target: emulsion.data.CaptionedFolder';
    const set = (params: string) =>
      `{${target}, params: {size: 32, data_root: ${file('captioned')}${params}}}`;
    const training = (text: string) => run('text2img256', narrowed(stage, small, text));
    await expect(training(set(''))).rejects.toThrow('captions need a tokenizer');
    await expect(training(set(`, tokenizer: ${file('tokenizer')}`))).rejects.toThrow(
      `it has ${tokenizer.vocabSize} ids, and the conditioner knows 104`,
    );
    const plain = `{target: emulsion.data.ImageFolder, params: {size: 32, data_root: ${file('captioned')}}}`;
    await expect(training(plain)).rejects.toThrow(/holds nothing for it[^]*captions/);
  });
});

/** Stable Diffusion's configuration with few channels. */
const tinyStableDiffusion = `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    {linear_start: 0.00085, linear_end: 0.012, timesteps: 100, image_size: 8, channels: 3, scale_factor: 0.18215,
     conditioning_key: crossattn, cond_stage_trainable: false,
     unet_config: {target: ldm.modules.diffusionmodules.openaimodel.UNetModel, params:
       {in_channels: 3, out_channels: 3, model_channels: 8, num_res_blocks: 1, attention_resolutions: [1],
        channel_mult: [1, 2], num_heads: 2, use_spatial_transformer: true, context_dim: 6, norm_groups: 4}},
     first_stage_config: {target: ldm.models.autoencoder.AutoencoderKL, params:
       {embed_dim: 3, lossconfig: {target: torch.nn.Identity}, ddconfig:
         {double_z: true, z_channels: 3, resolution: 16, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 2],
          num_res_blocks: 1, attn_resolutions: [], norm_groups: 4}}},
     cond_stage_config: {target: emulsion.ClipTextEncoder, params:
       {n_embed: 6, n_layer: 1, n_head: 2, vocab_size: 47, max_seq_len: 9}}}
`;

describe("a checkpoint of Stable Diffusion's kind", () => {
  const options = { ...shared, count: 1, negative: 'a' } as const;
  let checkpoint: { model: string; config: string; tokenizer: string };

  beforeAll(async () => {
    const config = write('sd.yaml', tinyStableDiffusion);
    const { spec } = readModel(await loadConfigTree([config]), diffusionModelTargets).spec;
    const network = await shaken(spec);
    const positions = 'cond_stage_model.transformer.text_model.embeddings.position_ids';
    const ids = int64(0, 1, 2, 3, 4, 5, 6, 7, 8).reshape([1, 9]);
    const bookkeeping = [
      [positions, ids],
      ['model_ema.decay', tensor(0.9999)],
      ['model_ema.num_updates', int64(7)],
    ] as const;
    const model = file('sd.safetensors');
    const state = new Map<string, Tensor | TensorSource>([
      ...network.exportState(),
      ...bookkeeping,
    ]);
    await writeSafetensors(model, state);
    network.dispose();
    for (const [, x] of bookkeeping) x.dispose();
    mkdirSync(file('clip'));
    await new TextTokenizer(tinyClip).save(file('clip'));
    checkpoint = { model, config, tokenizer: file('clip') };
  });

  const made = async (name: string, prompts: string[], changed: Partial<TextCommandOptions>) => {
    await textPictures(prompts, { ...options, ...checkpoint, output: file(name), ...changed });
    return (picture: number) => readFileSync(file(`${name}/00000${picture}.png`));
  };

  test('makes pictures that are functions of text, seed and what is led away from', async () => {
    const last = (await made('sd-two', ['the red fox', 'hen'], { seed: 8 }))(1);
    const fromFile = write('prompts.txt', '\uFEFF\nhen\r\n');
    expect((await made('sd-file', [], { fromFile, seed: 9 }))(0).equals(last)).toBe(true);
    const free = await made('sd-free', ['hen'], { seed: 9, negative: undefined });
    expect(free(0).equals(last)).toBe(false);
    expect((await made('sd-fox', ['fox'], { seed: 9 }))(0).equals(last)).toBe(false);
    expect((await made('sd-seed', ['hen'], { seed: 1 }))(0).equals(last)).toBe(false);
  });

  test('is converted by the same configuration, bookkeeping left out', async () => {
    const { model, config } = checkpoint;
    await convert(model, file('sd-folder'), { config, quiet: true });
    const made = await loadLatentDiffusion(file('sd-folder'));
    expect(made.spec.conditioner).toMatchObject({ kind: 'clip', vocabSize: 47 });
    made.dispose();
  });

  test('needs a tokenizer, and CLIP has it', async () => {
    await expect(made('sd-none', ['fox'], { tokenizer: undefined })).rejects.toThrow(
      'holds no tokenizer: name its files with --tokenizer',
    );
    await expect(made('sd-bert', ['fox'], { tokenizer: file('tokenizer') })).rejects.toThrow(
      'reads ids of clip, and the tokenizer is of kind bert',
    );
    await expect(made('sd-ema', ['fox'], { ema: true })).rejects.toThrow('no moving average');
  });
});

describe('cin256', () => {
  const pictures = (classes: string[], options: Partial<ClassCommandOptions> = {}) =>
    classPictures(classes, {
      ...{ ...shared, model: file('logs/cin256'), count: 2, output: file('classes-made') },
      ...options,
    });

  test("trains on ImageNet's folders, and is asked by the words for them", async () => {
    const split = (name: string) =>
      `{target: ldm.data.imagenet.ImageNet${name}, params: {data_root: ${file('net')}, words: ${file('words.txt')}, config: {size: 32}}}`;
    const conditioner = '{embed_dim: 8, n_classes: 3, unconditional_class: 2}';
    await run(
      'cin256',
      narrowed(await firstStage('vq-f8'), conditioner, split('Train'), 'disabled: true'),
    );
    expect(read('logs/cin256/model/classes.txt')).toBe('red fox, Vulpes vulpes\nhen\n');

    await pictures(['Vulpes vulpes', '1'], { grid: true, npz: true });
    expect(JSON.parse(read('classes-made/sampling_config.json'))).toMatchObject([
      { count: 4, guidance: 3, classes: [0, 1], perClass: 2 },
    ]);
    expect(await readImageSize(file('classes-made/grid-000000.png'))).toEqual({
      height: 70,
      width: 70,
    });
    // numbered on from a grid as well
    await pictures(['1'], { count: 1 });
    expect(readdirSync(file('classes-made'))).toEqual([
      ...[0, 1, 2, 3, 4].map((i) => `00000${i}.png`),
      'grid-000000.png',
      'samples-000000-4x32x32x3.npz',
      'sampling_config.json',
    ]);
  });

  test('are guided by 3 unless told otherwise', async () => {
    const made = async (name: string, options: Partial<ClassCommandOptions>) => {
      await pictures(['1'], { model: file('classes'), count: 1, output: file(name), ...options });
      return readFileSync(file(`${name}/000000.png`));
    };
    const usual = await made('usual', {});
    expect((await made('guided', { guidance: 3 })).equals(usual)).toBe(true);
    expect((await made('free', { guidance: 1 })).equals(usual)).toBe(false);
  });

  test.each<[string, string[], Partial<ClassCommandOptions>, RegExp]>([
    ['a name of a model without names', ['cat'], { model: file('classes') }, /give --class-names/],
    ['a misspelt name', ['red foxx'], {}, /no class 'red foxx'[^]*Did you mean 'red fox'\?/],
    ['an id beyond all', ['3'], {}, /no class '3': expected an id from 0 to 2/],
    ['an odd size', ['1'], { size: 33 }, /multiples of 8 pixels/],
  ])('refuses %s', async (name, classes, options, message) => {
    await expect(pictures(classes, { output: file(name), ...options })).rejects.toThrow(message);
    expect(existsSync(file(name))).toBe(false);
  });

  test('refuses a model of texts', async () => {
    await expect(pictures(['1'], { model: file('logs/text2img256') })).rejects.toThrow(
      /conditioned on texts\. Use emulsion txt2img/,
    );
  });
});
