import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { boolean, integer, list, mapping, optional, text } from '../../lib/config/fields.js';
import { firstStages } from '../../lib/config/first_stages.js';
import { losses } from '../../lib/config/losses.js';
import { loadConfigTree } from '../../lib/config/merge.js';
import { schedules } from '../../lib/config/schedules.js';
import { Targets } from '../../lib/config/targets.js';
import { readTraining } from '../../lib/config/training.js';
import { parseYaml } from '../../lib/config/yaml.js';
import { ConfigError } from '../../lib/index.js';
import { root } from '../support/source_tree.js';

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
    const { spec } = firstStages.read(node(source), 'first_stage_config');
    expect(spec.spec).toMatchObject({ kind: 'vq-interface', embedDim: 3, nEmbed: 8192 });
    expect(spec.training?.ckptPath).toBe('models/first_stage_models/vq-f4/model.ckpt');
    expect(spec.training?.lossconfig?.spec).toEqual({ kind: 'none' });
  });

  test('the identity', () => {
    const source = 'target: ldm.models.autoencoder.IdentityFirstStage';
    const identity = firstStages.read(node(source), 'first_stage_config');
    expect(identity.build().downsampling).toBe(1);
  });

  test.each([
    ['remap: some.npy', 'remap is not supported'],
    ['batch_resize_range: [64, 32]', 'batch_resize_range must be [smallest, largest]'],
    ['lr_g_facter: 2', "Did you mean 'lr_g_factor'?"],
  ])('%s is refused', (line, message) => {
    const source = `target: ldm.models.autoencoder.VQModel
params:
  embed_dim: 3
  n_embed: 16
  ${line}
  ${ddconfig}
`;
    expect(() => firstStages.read(node(source), 'model')).toThrow(`a.yaml:5:3: `);
    expect(() => firstStages.read(node(source), 'model')).toThrow(message);
  });
});

describe('losses', () => {
  const kl = (params: string) =>
    losses.read(
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

  test('of VQ models know the size of the codebook', async () => {
    const source =
      'target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator\n' +
      'params: {disc_start: 0, perceptual_weight: 0, disc_ndf: 8, perceptual_loss: lpips}';
    const loss = await losses.read(node(source), 'lossconfig').build(256);
    expect(loss?.config).toMatchObject({ nClasses: 256 });
  });
});

test('learning-rate schedules', () => {
  const source =
    'target: ldm.lr_scheduler.LambdaLinearScheduler\n' +
    'params: {warm_up_steps: [10], cycle_lengths: [100], f_start: [1.e-6], f_max: [1.0], f_min: [1.0], verbosity_interval: 0}';
  expect(schedules.read(node(source), 'scheduler_config').build().schedule(50)).toBe(1);
});

describe('the published first stages', () => {
  const folder = join(root, 'configs/first_stage');
  const names = readdirSync(folder).map((name) => name.replace('.yaml', ''));
  const load = async (name: string, overrides: string[] = []) => {
    const tree = await loadConfigTree([join(folder, `${name}.yaml`)], overrides);
    return readTraining(tree, firstStages);
  };

  test('are all there', () => {
    expect(names.sort()).toEqual([
      'folder64-kl-f4',
      'kl-f16',
      'kl-f32',
      'kl-f4',
      'kl-f8',
      'vq-f16',
      'vq-f4',
      'vq-f4-noattn',
      'vq-f8',
      'vq-f8-n256',
    ]);
  });
});
