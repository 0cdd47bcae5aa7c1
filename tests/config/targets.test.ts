// What configurations name: data sets, models, losses, schedules, each with its options and mistakes. Long, because one
// table of them all shows what is left out.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { datasetTargets } from '../../lib/config/datasets.js';
import { boolean, integer, list, mapping, optional, text } from '../../lib/config/fields.js';
import { firstStageTargets } from '../../lib/config/first_stages.js';
import { lossTargets } from '../../lib/config/losses.js';
import { loadConfigTree } from '../../lib/config/merge.js';
import { scheduleTargets } from '../../lib/config/schedules.js';
import { Targets } from '../../lib/config/targets.js';
import { readTraining } from '../../lib/config/training.js';
import { toPlain } from '../../lib/config/node.js';
import { formatYaml, parseYaml } from '../../lib/config/yaml.js';
import {
  ConfigError,
  firstStagePresets,
  firstStageTraining,
  learningRateOf,
  Lpips,
  LPIPSWithDiscriminator,
  readSafetensors,
  writeSafetensors,
  type Json,
  type PublishedFirstStage,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';

const file = temporaryFolder();
const node = (source: string) => parseYaml(source, 'a.yaml');

describe('fields', () => {
  interface Options {
    embedDim: number;
    chMult?: number[];
    doubleZ?: boolean;
    monitor?: string;
  }
  const options = mapping<Options>(
    {
      embed_dim: integer({ min: 1 }),
      ch_mult: optional(list(integer({ min: 1, max: 8 }))),
      double_z: optional(boolean),
      monitor: optional(text),
    },
    ['wrap'],
  );
  const read = (source: string) => options.read(node(source), 'params');

  test('are read to camelCase; what is left out or null is left out', () => {
    expect(read('embed_dim: 3\nch_mult: [1, 2]\ndouble_z: yes\nwrap: 5')).toEqual({
      embedDim: 3,
      chMult: [1, 2],
      doubleZ: true,
    });
    expect(read('embed_dim: 3\nmonitor: null')).toEqual({ embedDim: 3 });
  });

  test.each([
    ['embed_dim: 3\nembed_dimm: 4', "a.yaml:2:1: params has no key 'embed_dimm'. Did you mean 'em"],
    ['embed_dim: 3\nzzzzzzzz: 4', 'Known are embed_dim, ch_mult, double_z, monitor, wrap.'],
    ['ch_mult: [1]', "a.yaml:1:1: params needs the key 'embed_dim'"],
    ['embed_dim: null', "a.yaml:1:1: params needs the key 'embed_dim'"],
    ['embed_dim: 0', 'a.yaml:1:1: embed_dim must be a whole number of at least 1, got 0'],
    ['embed_dim: "3"', 'embed_dim must be a whole number of at least 1, got "3"'],
    ['embed_dim: 2.5', 'got 2.5'],
    ['embed_dim: .inf', 'got Infinity'],
    ['embed_dim: [1]', 'got a list of 1'],
    ['embed_dim: 1\nch_mult:\n  - 1\n  - 9', 'a.yaml:4:5: ch_mult[1] must be a whole number from'],
    ['embed_dim: 1\nch_mult: 2', 'ch_mult must be a list, got 2'],
    ['embed_dim: 1\ndouble_z: 1', 'double_z must be true or false, got 1'],
    ['3', 'a.yaml:1:1: params must be a mapping, got 3'],
  ])('%j is refused', (source, message) => {
    expect(() => read(source)).toThrow(ConfigError);
    expect(() => read(source)).toThrow(message);
  });
});

describe('targets', () => {
  const shapes = new Targets<{ side: number }, number>('a shape');
  shapes.register(['shapes.Square', 'emulsion.Square'], {
    params: mapping<{ side: number }>({ side: integer() }),
    build: ({ side }) => side * side,
  });

  test('are read and built by any of their names', () => {
    const square = shapes.read(node('target: shapes.Square\nparams: {side: 3}'), 'shape');
    expect(square).toMatchObject({ target: 'shapes.Square', spec: { side: 3 } });
    expect(square.build()).toBe(9);
  });

  test('take one meaning for a name', () => {
    expect(() =>
      shapes.register(['shapes.Square'], {
        params: mapping<{ side: number }>({ side: integer() }),
        build: () => 0,
      }),
    ).toThrow(/registered already/);
  });

  test.each([
    ['target: shapes.Sqare', "a.yaml:1:1: 'shapes.Sqare' is not known as a shape. Did you mean 's"],
    ['target: os.system', 'Known are shapes.Square, emulsion.Square.'],
    ['params: {side: 3}', "shape needs the key 'target'"],
    ['target: shapes.Square', "params needs the key 'side'"],
    ['target: constructor', 'is not known as a shape'],
  ])('%j is refused', (source, message) => {
    expect(() => shapes.read(node(source), 'shape')).toThrow(message);
  });
});

const ddconfig =
  'ddconfig: {double_z: true, z_channels: 4, resolution: 32, in_channels: 3, out_ch: 3, ch: 32, ' +
  'ch_mult: [1, 2], num_res_blocks: 1, attn_resolutions: [], dropout: 0.0}';

describe('first stages', () => {
  test('as an LDM configuration gives them: no loss', () => {
    const source = `target: ldm.models.autoencoder.VQModelInterface
params:
  embed_dim: 3
  n_embed: 8192
  ckpt_path: models/first_stage_models/vq-f4/model.ckpt
  ${ddconfig.replace('double_z: true', 'double_z: false')}
  lossconfig: {target: torch.nn.Identity, params: {anything: 1}}
`;
    const { spec } = firstStageTargets.read(node(source), 'first_stage_config');
    expect(spec.spec).toMatchObject({ kind: 'vq-interface', embedDim: 3, nEmbed: 8192 });
    expect(spec.training?.ckptPath).toBe('models/first_stage_models/vq-f4/model.ckpt');
    expect(spec.training?.lossconfig?.spec).toEqual({ kind: 'none' });
  });

  test('what the original lacks stands in ddconfig too', () => {
    const ours = ddconfig.replace('dropout: 0.0', 'norm_groups: 8, use_checkpoint: true');
    const source = `{target: ldm.models.autoencoder.AutoencoderKL, params: {embed_dim: 3, ${ours}}}`;
    const { spec } = firstStageTargets.read(node(source), 'model').build();
    expect(spec).toMatchObject({ ddconfig: { normGroups: 8, useCheckpoint: true } });
  });

  test('what is left out of the weights to begin with', () => {
    const source = `{target: ldm.models.autoencoder.AutoencoderKL, params: {embed_dim: 3, ignore_keys: [loss], image_key: jpg, ${ddconfig}}}`;
    const { spec } = firstStageTargets.read(node(source), 'model');
    expect(spec.training.ignoreKeys).toEqual(['loss']);
  });

  test('the identity', () => {
    const source = 'target: ldm.models.autoencoder.IdentityFirstStage';
    const identity = firstStageTargets.read(node(source), 'first_stage_config');
    expect(identity.build().downsampling).toBe(1);
  });

  test.each([
    ['remap: some.npy', 'remap is not supported'],
    ['embed_dim_: 1', "Did you mean 'embed_dim'?"],
    ['lr_g_factor: -1', 'lr_g_factor must be a number of at least 0, got -1'],
    ['batch_resize_range: [64, 32]', 'batch_resize_range must be [smallest, largest]'],
    ['lr_g_facter: 2', "Did you mean 'lr_g_factor'?"],
  ])('%s is refused', (line, message) => {
    const source = `target: ldm.models.autoencoder.VQModel
params:
  embed_dim: 3
  n_embed: 16
  ${line}
  ${ddconfig.replace('double_z: true', 'double_z: false')}
`;
    expect(() => firstStageTargets.read(node(source), 'model')).toThrow(`a.yaml:5:3: `);
    expect(() => firstStageTargets.read(node(source), 'model')).toThrow(message);
  });
});

describe('losses', () => {
  const kl = (params: string) =>
    lossTargets.read(
      node(`target: ldm.modules.losses.LPIPSWithDiscriminator\nparams: {${params}}`),
      'lossconfig',
    );

  test('without a perceptual network', async () => {
    const loss = kl('disc_start: 5, perceptual_weight: 0, disc_ndf: 8, pixelloss_weight: 1.0');
    expect(loss.spec).toEqual({
      kind: 'kl',
      config: { discStart: 5, perceptualWeight: 0, discNdf: 8 },
      perceptual: undefined,
    });
    const built = await loss.build();
    expect(built?.config.discStart).toBe(5);
  });

  test('say where the weights of the perceptual network are missing', async () => {
    await expect(kl('disc_start: 5').build()).rejects.toThrow(/Give their files as vgg and heads/);
    expect(() => kl('disc_start: 5, vgg: vgg16.pth')).toThrow(/give both vgg and heads/);
    const files = kl('disc_start: 5, vgg: /nowhere/vgg16.pth, heads: /nowhere/vgg.pth');
    await expect(files.build()).rejects.toThrow(/\/nowhere\/vgg16\.pth/);
  });

  test('begin with the networks of a checkpoint', async () => {
    const config = { discStart: 5, discNdf: 8, perceptualWeight: 1 };
    const saved = new LPIPSWithDiscriminator(config, { perceptual: new Lpips() });
    await writeSafetensors(file('loss.safetensors'), saved.exportState());
    const weights = await readSafetensors(file('loss.safetensors'));
    const built = await kl('disc_start: 5, disc_ndf: 8').build({ weights });
    const [a, b] = [saved, built!].map((loss) => loss.stateDict());
    for (const key of ['discriminator.main.0.weight', 'perceptual_loss.net.slice5.28.bias'])
      expect(await b.get(key)!.data()).toEqual(await a.get(key)!.data());
    expect(built!.perceptual_loss!.parameters().some((x) => x.requiresGrad)).toBe(false);
  });

  test('of VQ models know the size of the codebook', async () => {
    const source =
      'target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator\n' +
      'params: {disc_start: 0, perceptual_weight: 0, disc_ndf: 8, perceptual_loss: lpips}';
    const loss = await lossTargets.read(node(source), 'lossconfig').build({ codes: 256 });
    expect(loss?.config).toMatchObject({ nClasses: 256 });
  });
});

test('learning-rate schedules', () => {
  const source =
    'target: ldm.lr_scheduler.LambdaLinearScheduler\n' +
    'params: {warm_up_steps: [10], cycle_lengths: [100], f_start: [1.e-6], f_max: [1.0], f_min: [1.0], verbosity_interval: 0}';
  expect(scheduleTargets.read(node(source), 'scheduler_config').build().schedule(50)).toBe(1);
  const cosine =
    'target: ldm.lr_scheduler.LambdaWarmUpCosineScheduler\n' +
    'params: {warm_up_steps: 10, lr_min: 0, lr_max: 1, lr_start: 0, max_decay_steps: 100}';
  expect(scheduleTargets.read(node(cosine), 'scheduler_config').build().schedule(5)).toBe(0.5);
});

const folder = join(root, 'configs/first_stage');
const load = async (name: string, overrides: string[] = []) => {
  const tree = await loadConfigTree([join(folder, `${name}.yaml`)], overrides);
  return readTraining(tree, firstStageTargets);
};

describe('the published first stages', () => {
  const published = Object.keys(firstStageTraining) as PublishedFirstStage[];

  test('are all there', () => {
    const names = readdirSync(folder).map((file) => file.replace('.yaml', ''));
    expect(names.sort()).toEqual(['folder64-kl-f4', ...published].sort());
  });

  test.each(published)('%s', async (name) => {
    const config = await load(name);
    expect(config.model.spec.spec).toEqual(firstStagePresets[name]);
    const { batchSize, resolution, resizedTo, monitor, baseLearningRate, loss } =
      firstStageTraining[name];
    expect(config.baseLearningRate).toBe(baseLearningRate);
    expect(config.model.spec.training.monitor ?? null).toBe(monitor);
    const { kind, ...weights } = loss;
    const spec = config.model.spec.training.lossconfig?.spec;
    expect(spec).toMatchObject({ kind });
    expect(spec).toMatchObject({ config: pick(weights, 'discStart', 'discWeight') });
    if (weights.discNumLayers !== 3) expect(spec).toMatchObject({ config: { discNumLayers: 2 } });
    const rest = loss.kind === 'kl' ? pick(loss, 'klWeight') : pick(loss, 'codebookWeight');
    expect(spec).toMatchObject({ config: rest });
    expect(config.data?.spec.batchSize).toBe(batchSize);
    expect(config.data?.spec.train?.spec.transform).toEqual({
      size: resolution,
      smallestSide: resizedTo,
      randomCrop: true,
      orient: false,
    });
    expect(config.data?.spec.validation?.spec.transform).toMatchObject({ randomCrop: false });
  });

  test('say that their pictures must be named', async () => {
    const { data } = await load('kl-f4');
    await expect(data?.build({ seed: 1 })).rejects.toThrow(/FullOpenImagesTrain: say where/);
  });
});

test('the configuration for a folder of one’s own is built on a CPU', async () => {
  const { model } = await load('folder64-kl-f4');
  using built = model.build();
  expect(built.downsampling).toBe(4);
  expect(built.parameterCount()).toBeLessThan(5e6);
  const loss = await model.spec.training.lossconfig?.build();
  expect(loss?.discriminator.parameterCount()).toBeLessThan(2e5);
});

describe('data modules', () => {
  const transformOf = (target: string, params: string) =>
    datasetTargets.read(node(`target: ${target}\nparams: {${params}}`), 'train').spec.transform;

  // Spec of the original's data sets; what the transform makes of them is tested beside it.
  test.each([
    ['ldm.data.lsun.LSUNChurchesTrain', 'size: 256', { cropFraction: [1, 1], flip: 0.5 }],
    ['ldm.data.lsun.LSUNCatsValidation', 'size: 256', { filter: 'bicubic', flip: 0 }],
    ['ldm.data.imagenet.ImageNetTrain', 'config: {size: 256}', { size: 256, randomCrop: true }],
    ['taming.data.faceshq.FFHQTrain', 'size: 256', { size: 256 }],
    [
      'ldm.data.imagenet.ImageNetSRTrain',
      'size: 256, degradation: pil_nearest',
      { cropFraction: [0.5, 1], filter: 'area', randomCrop: true },
    ],
    [
      'emulsion.data.ImageFolder',
      'size: 64, smallest_side: 80, flip: 0.25, min_crop_fraction: null',
      { size: 64, smallestSide: 80, flip: 0.25 },
    ],
    ['emulsion.data.ImageFolder', 'size: 64, min_crop_fraction: 0.5', { cropFraction: [0.5, 1] }],
  ])('%s with %s', (target, params, expected) => {
    expect(transformOf(target, params)).toMatchObject(expected);
  });

  test.each([
    ['size: 64, smallest_side: 32', /does not fit smallestSide 32/],
    ['size: 64, smallest_side: 80, min_crop_fraction: 0.5', /smallestSide or cropFraction, not/],
    ['size: 64, min_crop_fraction: 0.9, max_crop_fraction: 0.5', /min <= max/],
    ['size: 64, max_crop_fraction: 0.5', /max_crop_fraction needs min_crop_fraction/],
    ['size: 64, background: nothing', /is no colour/],
  ])('what cannot be done to a picture is refused with its place: %s', (params, message) => {
    const read = () => transformOf('emulsion.data.ImageFolder', params);
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(/^\S+:2:\d+: /);
    expect(read).toThrow(message);
  });

  test.each([
    ['ImageNetTrain', 'config: {size: 16}'],
    ['ImageNetValidation', 'config: {size: 16}'],
    ['ImageNetSRTrain', 'size: 16'],
  ])('%s leaves out the picture that the original does', async (name, params) => {
    const folder = file(name);
    for (const path of ['n06596364/n06596364_9591.JPEG', 'n06596364/a.JPEG', 'n01440764/b.JPEG']) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), '');
    }
    const source = `target: ldm.data.imagenet.${name}\nparams: {data_root: ${folder}, ${params}}`;
    const dataset = await datasetTargets.read(node(source), 'train').build();
    const paths = Array.from({ length: dataset.length }, (_, i) => dataset.item(i).path);
    expect(paths).toEqual(
      ['n01440764/b.JPEG', 'n06596364/a.JPEG'].map((path) => join(folder, path)),
    );
  });

  test('a choice of classes that would be ignored is refused', () => {
    expect(() =>
      transformOf('ldm.data.imagenet.ImageNetTrain', "config: {sub_indices: '0-9'}"),
    ).toThrow(/sub_indices is not supported: keep the folders/);
  });

  test('an unknown option of a data set is refused', () => {
    expect(() => transformOf('emulsion.data.ImageFolder', 'sizes: 64')).toThrow(
      "Did you mean 'size'?",
    );
  });
});

test('an end to the training, or none', async () => {
  const of = async (...given: string[]) => {
    const trainer = given.map((each) => `lightning.trainer.${each}`);
    return (await load('kl-f4', trainer)).trainer;
  };
  expect(await of('max_epochs=-1', 'max_steps=7')).toEqual({ maxSteps: 7 });
  expect(await of('max_steps=-1', 'max_epochs=2')).toEqual({ maxEpochs: 2 });
  expect(await of('find_unused_parameters=false')).toEqual({});
  await expect(of('max_epochs=0')).rejects.toThrow(
    'max_epochs must be a whole number of at least 1, or -1 for no limit, got 0',
  );
});

test('our own settings and those of the original’s trainer', async () => {
  const config = await load('kl-f4', [
    'lightning.trainer.accumulate_grad_batches=2',
    'lightning.trainer.benchmark=true',
    'lightning.callbacks.image_logger.params.batch_frequency=1000',
    'emulsion.dtype=bfloat16',
    'emulsion.seed=7',
  ]);
  expect(config.trainer).toEqual({ accumulateGradBatches: 2 });
  expect(config.imageLogger).toEqual({ batchFrequency: 1000 });
  expect(config.run).toEqual({ dtype: 'bfloat16', seed: 7 });
  // 4.5e-6 per image, spec section 2.7
  expect(learningRateOf(config)).toBeCloseTo(4.5e-6 * 2 * 10, 12);
  await expect(load('kl-f4', ['emulsion.dtype=float64'])).rejects.toThrow(/one of float32/);
});

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>;
}

test('whatever stands in a configuration is read or refused, and nothing else', async () => {
  const trees = await Promise.all(
    ['kl-f4', 'vq-f8', 'folder64-kl-f4'].map((name) =>
      loadConfigTree([join(folder, `${name}.yaml`)]),
    ),
  );
  const value = fc.oneof(
    fc.constantFrom(null, true, -1, 0, 0.5, 1e300, NaN, Infinity, '', 'none', '${a}', [], {}),
    fc.constantFrom([1, 'x'], { target: 'x' }, { target: 1 }, { params: [] }, [[[]]]),
  );
  fc.assert(
    fc.property(fc.constantFrom(...trees), fc.nat(), value, (tree, at, wrong) => {
      const text = formatYaml(replaceAt(toPlain(tree), at, wrong as Json));
      try {
        readTraining(parseYaml(text, 'a.yaml'), firstStageTargets);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as Error).message).toMatch(/^a\.yaml:\d+:\d+: /);
      }
    }),
    { numRuns: 400 },
  );
});

/** Replaces the value number `at`, counted around. */
function replaceAt(root: Json, at: number, by: Json): Json {
  const size = (node: Json): number =>
    node !== null && typeof node === 'object'
      ? 1 + Object.values(node).reduce<number>((sum, child) => sum + size(child), 0)
      : 1;
  let left = at % size(root);
  const visit = (node: Json): Json => {
    if (left-- === 0) return by;
    if (node === null || typeof node !== 'object') return node;
    if (Array.isArray(node)) return node.map(visit);
    return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, visit(child)]));
  };
  return visit(root);
}
