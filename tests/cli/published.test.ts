// The files that were published with the paper load as they are; one of them is trained, only smaller.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { trainCommand } from '../../lib/cli/train.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import { mergeAll } from '../../lib/config/merge.js';
import { nodeAt, type MappingNode } from '../../lib/config/node.js';
import { readYamlFile } from '../../lib/config/yaml.js';
import {
  buildFirstStage,
  dataModuleTargets,
  diffusionModelTargets,
  loadConfigTree,
  loadLatentDiffusion,
  parseYaml,
  readModel,
  saveFirstStage,
  TextTokenizer,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';

const file = temporaryFolder();

// What a published file says beside what ours does, or instead of it.
const watched = 'model: {params: {first_stage_config: {params: {monitor: val/rec_loss}}}}';
const alone = 'model: {params: {cond_stage_trainable: false, concat_mode: false}}';
const workers = (n: number) => `data: {params: {num_workers: ${n}}}`;
const logging = (every: number, increasing: string, trainer: string) => `lightning:
  callbacks:
    image_logger:
      target: main.ImageLogger
      params:
        batch_frequency: ${every}
        max_images: 8
        increase_log_steps: ${increasing}

  trainer:
    benchmark: True
${trainer}`;
const onStage = (checkpoint: string) => `model:
  params:
    monitor: 'val/loss_simple_ema'
    first_stage_config:
      params:
        ckpt_path: "${checkpoint}"
${logging(5000, 'False', '')}`;
const onImageNet = `data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 12
    wrap: True
    train:
      target: ldm.data.imagenet.ImageNetSRTrain
      params:
        size: 256
        degradation: pil_nearest
    validation:
      target: ldm.data.imagenet.ImageNetSRValidation
      params:
        size: 256
        degradation: pil_nearest
${logging(1000, 'True', '    accumulate_grad_batches: 2')}`;
const explicit = `model:
  params:
    first_stage_key: jpg
    scale_by_std: false
    unet_config: {params: {use_scale_shift_norm: false, resblock_updown: false}}`;

/** A published file, ours beside it, its learning rate on one GPU, and what it says otherwise. */
type Published = [path: string, ours: string, rate: number, ...says: string[]];

const model = (name: string, rate: number, ...says: string[]): Published => [
  `models/ldm/${name}`,
  `latent_diffusion/${name}`,
  rate,
  ...says,
];
const firstStage = (name: string, rate: number, ...says: string[]): Published => [
  `models/first_stage_models/${name}`,
  `first_stage/${name}`,
  rate,
  ...says,
];
const recipe = (name: string, ours: string, rate: number, ...says: string[]): Published => [
  `configs/latent-diffusion/${name}`,
  `latent_diffusion/${ours}`,
  rate,
  ...says,
];
const autoencoder = (latent: string, ours: string): Published => [
  `configs/autoencoder/autoencoder_kl_${latent}`,
  `first_stage/${ours}`,
  1.08e-4,
  onImageNet,
];

const published: Published[] = [
  model('bsr_sr', 6.4e-5, watched),
  model('celeba256', 9.6e-5, alone, workers(5)),
  model('cin256', 6.4e-5, workers(12)),
  model('ffhq256', 8.4e-5, alone, workers(5)),
  model('inpainting_big', 1e-6, watched),
  model('layout2img-openimages256', 4.8e-5, watched),
  model('lsun_beds256', 9.6e-5, alone, workers(5)),
  model('lsun_churches256', 5e-5, watched, workers(5)), // as it is, by --scale_lr False
  model('semantic_synthesis256', 1e-6),
  model('semantic_synthesis512', 8e-6, watched),
  model('text2img256', 5.6e-5),
  firstStage('kl-f4', 4.5e-5),
  firstStage('kl-f8', 1.8e-5),
  firstStage('kl-f16', 2.7e-5),
  firstStage('kl-f32', 2.7e-5),
  firstStage('vq-f4', 3.6e-5, workers(16)),
  firstStage('vq-f4-noattn', 3.6e-5, workers(12)),
  firstStage('vq-f8', 4.5e-5, workers(20)),
  firstStage('vq-f8-n256', 4.5e-5, workers(20)),
  firstStage('vq-f16', 6.3e-5, workers(20)),
  recipe(
    'celebahq-ldm-vq-4',
    'celeba256',
    9.6e-5,
    workers(5),
    onStage('models/first_stage_models/vq-f4/model.ckpt'),
  ),
  recipe(
    'ffhq-ldm-vq-4',
    'ffhq256',
    8.4e-5,
    workers(5),
    onStage('configs/first_stage_models/vq-f4/model.yaml'),
  ),
  recipe(
    'lsun_bedrooms-ldm-vq-4',
    'lsun_beds256',
    9.6e-5,
    workers(5),
    onStage('configs/first_stage_models/vq-f4/model.yaml'),
  ),
  recipe(
    'lsun_churches-ldm-kl-8',
    'lsun_churches256',
    5e-5,
    workers(5),
    onStage('models/first_stage_models/kl-f8/model.ckpt'),
  ),
  recipe(
    'cin-ldm-vq-f8',
    'cin256',
    6.4e-5,
    workers(12),
    onStage('configs/first_stage_models/vq-f8/model.yaml'),
  ),
  recipe('cin256-v2', 'cin256-v2', 1e-4),
  recipe('txt2img-1p4B-eval', 'txt2img-1p4B', 5e-5, watched),
  autoencoder('64x64x3', 'kl-f4'),
  autoencoder('32x32x4', 'kl-f8'),
  autoencoder('16x16x16', 'kl-f16'),
  autoencoder('8x8x64', 'kl-f32'),
  [
    'configs/retrieval-augmented-diffusion/768x768',
    'latent_diffusion/rdm',
    1e-4,
    watched,
    explicit,
  ],
  ['configs/stable-diffusion/v1-inference', 'stable-diffusion/v1-inference', 1e-4],
];

const ours = (name: string) => join(root, 'configs', `${name}.yaml`);

async function treeOf(name: string, says: readonly string[]): Promise<MappingNode> {
  const own = (await readYamlFile(ours(name))) as MappingNode;
  const further = says.map((text) => parseYaml(text, 'published.yaml'));
  const entries = new Map(own.entries);
  // other pictures take the place of ours, whose parameters they do not have
  if (further.some((tree) => nodeAt(tree, ['data', 'target']))) entries.delete('data');
  return mergeAll([{ ...own, entries }, ...further]);
}

test.each(published)('%s', async (_, name, rate, ...says) => {
  const tree = await treeOf(name, says);
  expect(trainingOf(tree).learningRate).toBeCloseTo(rate, 12);
  const pictures = nodeAt(tree, ['data']);
  // None names its pictures: that they are missing is all that keeps it from its training.
  if (pictures)
    await expect(dataModuleTargets.read(pictures, 'data').build({ seed: 1 })).rejects.toThrow(
      /: say where the pictures are, with data_root/,
    );
});

test('no file of ours is left out', () => {
  const files = ['first_stage', 'latent_diffusion', 'stable-diffusion'].flatMap((folder) =>
    readdirSync(join(root, 'configs', folder)).map((name) => `${folder}/${name.slice(0, -5)}`),
  );
  // our own, and one that others published
  const others = ['first_stage/folder64-kl-f4', 'stable-diffusion/v1-inpainting-inference'];
  expect(new Set(published.map(([, name]) => name))).toEqual(
    new Set(files.filter((name) => !others.includes(name))),
  );
});

const data = ['data', 'params', 'train', 'target'];
const loss = ['model', 'params', 'first_stage_config', 'params', 'lossconfig', 'target'];

test.each([
  ['celeba256', data, 'ldm.data.faceshq.CelebAHQTrain'],
  ['ffhq256', data, 'ldm.data.faceshq.FFHQTrain'],
  ['bsr_sr', data, 'ldm.data.openimages.SuperresOpenImagesAdvancedTrain'],
  ['semantic_synthesis512', data, 'ldm.data.landscapes.RFWTrain'],
  ['text2img256', data, 'ldm.data.previews.pytorch_dataset.PreviewsTrain'],
  ['inpainting_big', loss, 'ldm.modules.losses.contperceptual.DummyLoss'],
])('%s names what the published file does', async (name, path, target) => {
  const tree = await loadConfigTree([ours(`latent_diffusion/${name}`)]);
  expect(nodeAt(tree, path)).toMatchObject({ value: target });
});

test('captioned pictures of any folder take the place of private ones', async () => {
  await writePicture(file('captioned/0.png'), 0, { width: 20, height: 16 });
  writeFileSync(file('captioned/0.txt'), 'a red fox\n');
  mkdirSync(file('tokenizer'));
  await TextTokenizer.fromTexts(['a red fox'], { length: 77 }).save(file('tokenizer'));
  const built = async (...params: string[]) => {
    const overrides = params.map((each) => `data.params.train.params.${each}`);
    const tree = await loadConfigTree([ours('latent_diffusion/text2img256')], overrides);
    const { train } = dataModuleTargets.read(nodeAt(tree, ['data'])!, 'data').spec;
    const { conditioner } = readModel(tree, diffusionModelTargets).spec.spec;
    return [await train!.spec.condition!(conditioner!), await train!.build()] as const;
  };
  await expect(built()).rejects.toThrow(/captions need a tokenizer: name its files/);
  await expect(built(`tokenizer=${file('tokenizer')}`)).rejects.toThrow(
    /^ldm\.data\.previews\.pytorch_dataset\.PreviewsTrain: say where the pictures are, with data_root/,
  );
  const given = [`data_root=${file('captioned')}`, `tokenizer=${file('tokenizer')}`];
  const [, pictures] = await built(...given);
  expect(pictures.length).toBe(1);
});

describe('super-resolution with the published degradations', () => {
  // The published architecture, narrower and for pictures of 32 pixels.
  const network = 'model.params.unet_config.params';
  const stage = 'model.params.first_stage_config.params';
  const smaller = [
    ...['train', 'validation'].flatMap((split) => [
      `data.params.${split}.params.data_root=${file('photos')}`,
      `data.params.${split}.params.size=32`,
    ]),
    'data.params.batch_size=2',
    'data.params.num_workers=0',
    'model.params.image_size=8',
    ...[`${network}.model_channels=32`, `${network}.num_res_blocks=1`],
    ...[`${network}.channel_mult=[1, 2]`, `${network}.attention_resolutions=[2]`],
    ...[`${stage}.n_embed=16`, `${stage}.ddconfig.ch=32`, `${stage}.ddconfig.num_res_blocks=1`],
    `${stage}.ckpt_path=${file('stage')}`,
    'emulsion.validate_every=2',
  ];
  const base = ours('latent_diffusion/bsr_sr');

  beforeAll(async () => {
    for (const i of [0, 1, 2])
      await writePicture(file(`photos/${i}.png`), i, { width: 80, height: 72 });
    const tree = await loadConfigTree([base], smaller);
    const { firstStage } = readModel(tree, diffusionModelTargets).spec.spec;
    using built = buildFirstStage(firstStage);
    await saveFirstStage(file('stage'), built);
  });

  test('trains from the command line', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    onTestFinished(() => [log, warn].forEach((spy) => spy.mockRestore()));
    const options = ['--steps', '3', '--logdir', file('logs'), '--name', 'tiny', '--json'];
    const more = 'lightning.callbacks.image_logger.params.increase_log_steps=true';
    const given = ['--base', base, ...options, ...smaller, more];
    await trainCommand().parseAsync(given, { from: 'user' });
    expect(process.exitCode ?? 0).toBe(0);
    expect(JSON.parse(log.mock.calls[0][0] as string)).toMatchObject({ step: 3, images: 6 });
    expect(warn.mock.calls).toEqual([
      [`emulsion: without effect here: ${more.replace('=true', '.')}`],
    ]);
    using model = await loadLatentDiffusion(file('logs/tiny/model'));
    expect(model.spec).toMatchObject({ conditioner: { kind: 'identity' }, imageSize: 8 });
    // The file names no monitor: as in the original the best states are those by val/loss.
    const best = readFileSync(file('logs/tiny/checkpoints/best.json'), 'utf8');
    expect(JSON.parse(best)).toMatchObject([{ step: 2 }]);
  });
});
