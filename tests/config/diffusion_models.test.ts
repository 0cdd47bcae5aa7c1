// The original's diffusion configurations: the published files say what the presets say, and mistakes are told.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { conditionerField } from '../../lib/config/conditioners.js';
import { diffusionModelTargets } from '../../lib/config/diffusion_models.js';
import { loadConfigTree } from '../../lib/config/merge.js';
import { readTraining } from '../../lib/config/training.js';
import { classifierTargets, unetTargets } from '../../lib/config/unets.js';
import { parseYaml } from '../../lib/config/yaml.js';
import {
  ConfigError,
  latentDiffusionPresets,
  type LatentDiffusionPreset,
} from '../../lib/index.js';
import { root } from '../support/source_tree.js';

const node = (source: string) => parseYaml(source, 'a.yaml');
const folder = join(root, 'configs', 'latent_diffusion');
const names = Object.keys(latentDiffusionPresets) as LatentDiffusionPreset[];
const stableDiffusion: Readonly<Record<string, string>> = {
  'stable-diffusion-v1': 'v1-inference.yaml',
  'stable-diffusion-v1-inpainting': 'v1-inpainting-inference.yaml',
};
const fileOf = (name: string): string =>
  name in stableDiffusion
    ? join(root, 'configs', 'stable-diffusion', stableDiffusion[name])
    : join(folder, `${name}.yaml`);

describe('published configurations', () => {
  const read = async (name: string) =>
    readTraining(await loadConfigTree([fileOf(name)]), diffusionModelTargets);

  test('there is a file for every preset', () => {
    const others = names.filter((name) => !(name in stableDiffusion));
    expect(readdirSync(folder).sort()).toEqual(others.map((name) => `${name}.yaml`).sort());
  });

  test.each(names)('%s builds the preset', async (name) => {
    const { spec } = (await read(name)).model.spec;
    const preset = latentDiffusionPresets[name];
    expect(spec).toMatchObject(preset);
    // what a file says beyond the preset are the defaults
    const { diffusion, numTimestepsCond, ...rest } = spec;
    expect(numTimestepsCond).toBe(1);
    expect({ lossType: 'l2', ...preset.diffusion, timesteps: 1000 }).toMatchObject(diffusion!);
    expect(rest).toEqual({ ...preset, diffusion: undefined });
  });

  // base rate times batch, and what the paper's appendix lists
  test.each([
    ['celeba256', 2e-6, 48, 9.6e-5],
    ['ffhq256', 2e-6, 42, 8.4e-5],
    ['lsun_beds256', 2e-6, 48, 9.6e-5],
    ['cin256', 1e-6, 64, 6.4e-5],
  ] as const)('%s trains at the published rate', async (name, base, batch, rate) => {
    const { baseLearningRate, data } = await read(name);
    expect([baseLearningRate, data?.spec.batchSize]).toEqual([base, batch]);
    expect(baseLearningRate * batch).toBeCloseTo(rate, 12);
  });

  test('churches warms up and keeps its rate', async () => {
    const { model, run, baseLearningRate } = await read('lsun_churches256');
    const schedule = model.spec.training.schedulerConfig!.build();
    expect([0, 5000, 10_000, 500_000].map((n) => schedule.schedule(n))).toEqual([
      1e-6,
      expect.closeTo(0.5000005, 9),
      1,
      1,
    ]);
    expect([run.scaleLr, baseLearningRate]).toEqual([false, 5e-5]);
  });

  test('averages and monitors', async () => {
    const { training } = (await read('cin256-v2')).model.spec;
    expect(training).toMatchObject({ useEma: false, monitor: 'val/loss', logEveryT: 200 });
    expect((await read('cin256')).model.spec.training.useEma).toBeUndefined();
  });
});

const unetText = `target: ldm.modules.diffusionmodules.openaimodel.UNetModel
params:
  in_channels: 3
  out_channels: 3
  model_channels: 32
  num_res_blocks: 1
  attention_resolutions: [1]
  num_heads: 2
`;

describe('denoising networks', () => {
  it('take the width of the context in a list', () => {
    const source = `${unetText}  use_spatial_transformer: true\n  context_dim: [12]\n  use_fp16: true\n`;
    expect(unetTargets.read(node(source), 'unet_config').spec).toMatchObject({ contextDim: 12 });
  });

  it.each([
    ['model_chanels: 3', "Did you mean 'model_channels'?"],
    ['dims: 3', 'dims must be a whole number from 2 to 2'],
    ['context_dim: 12', 'useSpatialTransformer and contextDim belong together'],
    ['context_dim: [12, 13]', 'must be one number'],
    ['norm_groups: 5', 'widths must be divisible by normGroups (5)'],
  ])('%s is refused', (line, message) => {
    const read = () => unetTargets.read(node(`${unetText}  ${line}\n`), 'unet_config');
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(message);
  });
});

describe('classifiers of noisy latents', () => {
  const source = unetText.replace('UNetModel', 'EncoderUNetModel').replace('  num_heads: 2\n', '');

  it('take the parameters of a denoising network, and how the last map is pooled', () => {
    const { spec, build } = classifierTargets.read(
      node(`${source}  pool: spatial\n  context_dim: 5\n  use_spatial_transformer: true\n`),
      'classifier',
    );
    expect(spec).toMatchObject({ modelChannels: 32, pool: 'spatial' });
    expect('contextDim' in spec).toBe(false);
    build().dispose();
  });

  it('know their ways of pooling', () => {
    const read = () => classifierTargets.read(node(`${source}  pool: max\n`), 'classifier');
    expect(read).toThrow('pool must be one of adaptive, attention, spatial, spatial_v2');
  });
});

describe('conditioners', () => {
  const read = (source: string) => conditionerField.read(node(source), 'cond_stage_config');
  const target = (name: string, params = '{}') =>
    read(`target: ldm.modules.encoders.modules.${name}\nparams: ${params}`);

  it('are targets or words', () => {
    expect(read('__is_unconditional__')).toEqual({ kind: 'none' });
    expect(read('__is_first_stage__')).toEqual({ kind: 'first-stage' });
    expect(read('target: torch.nn.Identity\nparams: {any: 1}')).toEqual({ kind: 'identity' });
    expect(target('ClassEmbedder', '{embed_dim: 8, n_classes: 5, key: class}')).toEqual({
      kind: 'class',
      embedDim: 8,
      nClasses: 5,
    });
    expect(target('TransformerEmbedder', '{n_embed: 8, n_layer: 1, vocab_size: 9}')).toEqual({
      kind: 'bert',
      nEmbed: 8,
      nLayer: 1,
      vocabSize: 9,
      useTokenizer: false,
    });
    expect(target('FrozenCLIPEmbedder', '{device: cuda, max_length: 40}')).toEqual({
      kind: 'clip',
      maxSeqLen: 40,
    });
    const narrow = '{n_embed: 12, n_layer: 2, n_head: 3, vocab_size: 47}';
    expect(read(`target: emulsion.ClipTextEncoder\nparams: ${narrow}`)).toEqual({
      kind: 'clip',
      nEmbed: 12,
      nLayer: 2,
      nHead: 3,
      vocabSize: 47,
    });
    expect(target('SpatialRescaler', '{n_stages: 2, out_channels: 3}')).toEqual({
      kind: 'spatial-rescaler',
      nStages: 2,
      outChannels: 3,
    });
  });

  it('may be two at once, a map and tokens', () => {
    const parts = (crossattn: string) =>
      read(
        'target: ldm.modules.diffusionmodules.util.HybridConditioner\n' +
          `params: {c_concat_config: __is_first_stage__, c_crossattn_config: ${crossattn}}`,
      );
    const bert = 'target: ldm.modules.encoders.modules.BERTEmbedder';
    expect(parts(`{${bert}, params: {n_embed: 8, n_layer: 1}}`)).toMatchObject({
      kind: 'hybrid',
      concat: { kind: 'first-stage' },
      crossattn: { kind: 'bert', nEmbed: 8 },
    });
    expect(() => parts(`{${bert}, params: {n_embd: 8}}`)).toThrow("Did you mean 'n_embed'?");
  });

  it.each([
    () => read('__is_firststage__'),
    () => target('BERTEmbeder', '{n_embed: 8, n_layer: 1}'),
    () => target('BERTEmbedder', '{n_embed: 8, n_layers: 1}'),
    () => target('ClassEmbedder', '{embed_dim: 8, n_classes: 5, unconditional_class: 5}'),
  ])('%s is refused', (wrong) => {
    expect(wrong).toThrow(ConfigError);
  });
});

describe('diffusion models', () => {
  const indented = unetText.replaceAll('\n', '\n    ');
  const model = (lines: string[], target = 'DDPM', unet = indented) =>
    diffusionModelTargets.read(
      node(
        `target: ldm.models.diffusion.ddpm.${target}\nparams:\n  unet_config:\n    ${unet}\n  ${lines.join('\n  ')}\n`,
      ),
      'model',
    );
  const identity = 'first_stage_config: {target: ldm.models.autoencoder.IdentityFirstStage}';

  it('condition on a map and tokens at once, or on classes of the network', () => {
    const hybrid =
      'cond_stage_config: {target: ldm.modules.diffusionmodules.util.HybridConditioner, params: ' +
      '{c_concat_config: {target: torch.nn.Identity}, c_crossattn_config: ' +
      '{target: ldm.modules.encoders.modules.ClassEmbedder, params: {embed_dim: 12, n_classes: 5}}}}';
    const attending = indented
      .replace('in_channels: 3', 'in_channels: 6')
      .concat('  use_spatial_transformer: true\n      context_dim: 12\n');
    const of = (conditioner: string, key: string, unet: string) =>
      model([identity, conditioner, `conditioning_key: ${key}`], 'LatentDiffusion', unet);
    expect(of(hybrid, 'hybrid', attending).spec.spec).toMatchObject({
      conditioningKey: 'hybrid',
      conditioner: { kind: 'hybrid', concat: { kind: 'identity' }, crossattn: { kind: 'class' } },
    });
    expect(() => of(hybrid, 'crossattn', attending)).toThrow(/crossattn and hybrid/);
    const itself = 'cond_stage_config: {target: torch.nn.Identity}';
    const counting = indented.concat('  num_classes: 5\n');
    expect(of(itself, 'adm', counting).spec.spec).toMatchObject({
      conditioningKey: 'adm',
      unet: { numClasses: 5 },
    });
    expect(() => of(itself, 'adm', indented)).toThrow(/numClasses belong together/);
  });

  it('say how latents are cut that are larger than the network is to see', () => {
    const patches =
      '{ks: [16, 8], stride: 4, vqf: 4, tie_braker: true, patch_distributed_vq: true}';
    const { training } = model([`split_input_params: ${patches}`]).spec;
    expect(training.splitInputParams).toEqual({
      ks: [16, 8],
      stride: 4,
      tieBraker: true,
      patchDistributedVq: true,
    });
    for (const [wrong, message] of [
      ['{ks: 4, stride: 8}', 'leaves gaps'],
      ['{stride: 8}', "needs the key 'ks'"],
      ['{ks: [4, 4, 4]}', 'ks must be'],
      ['{ks: 4, tie_breaker: true}', "Did you mean 'tie_braker'"],
    ])
      expect(() => model([`split_input_params: ${wrong}`]), wrong).toThrow(message);
  });

  it('of pixels are latent diffusion behind the identity', () => {
    const { spec, training } = model(['timesteps: 10', 'image_size: 8', 'use_ema: false']).spec;
    expect(spec).toMatchObject({
      firstStage: { kind: 'identity' },
      clipDenoised: true,
      imageSize: 8,
      diffusion: { timesteps: 10 },
    });
    expect(training).toEqual({ useEma: false });
  });

  it('take an unnamed conditioning by concatenation, or attention without concat_mode', () => {
    const lines = [identity, 'cond_stage_config: {target: torch.nn.Identity}'];
    const wide = () => model([...lines], 'LatentDiffusion');
    // the network has no channels for it
    expect(wide).toThrow("inChannels (3) must be above the latents' 3");
    expect(() => model([...lines, 'concat_mode: false'], 'LatentDiffusion')).toThrow(
      'conditioningKey crossattn needs a network that attends to a context',
    );
  });

  it.each([
    [['linear_stat: 0.1'], "Did you mean 'linear_start'?"],
    [['channels: 4'], "channels (4) must be the network's out_channels (3)"],
    [['use_positional_encodings: true'], 'use_positional_encodings is not supported'],
    [['linear_start: 0.0'], 'every β must lie in (0, 1)'],
    [['loss_type: huber'], 'loss_type must be one of l1, l2'],
  ])('%j is refused', (lines, message) => {
    expect(() => model(lines)).toThrow(ConfigError);
    expect(() => model(lines)).toThrow(message);
  });

  it('refuse what latent diffusion cannot do', () => {
    expect(() => model([identity, 'cond_stage_forward: encode'], 'LatentDiffusion')).toThrow(
      'cond_stage_forward is not supported',
    );
    expect(() => model([identity, 'num_timesteps_cond: 2000'], 'LatentDiffusion')).toThrow(
      'numTimestepsCond must be at most the 1000 timesteps',
    );
  });
});

test('the loss on pixels leaves logvar out, as the original does', () => {
  const unet =
    '{target: ldm.modules.diffusionmodules.openaimodel.UNetModel, params: {image_size: 8, in_channels: 3, ' +
    'out_channels: 3, model_channels: 32, num_res_blocks: 1, attention_resolutions: [], num_heads: 1}}';
  const source = `target: ldm.models.diffusion.ddpm.DDPM
params: {unet_config: ${unet}, learn_logvar: true, logvar_init: 1.0, timesteps: 10}
`;
  const { spec } = diffusionModelTargets.read(node(source), 'model').spec;
  expect(spec.diffusion).toEqual({ timesteps: 10 });
});
