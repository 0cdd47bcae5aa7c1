// diffusers' configurations of U-Nets, the published ones as that library's files have them.
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  fromDiffusersUNetConfig,
  isDiffusersConfig,
  latentDiffusionPresets,
  toDiffusersUNetConfig,
  type LatentDiffusionPreset,
  type UNetConfig,
} from '../../../lib/index.js';
import { unetConfigs } from './unet_configs.js';

const throughJson = (config: UNetConfig) =>
  fromDiffusersUNetConfig(
    JSON.parse(JSON.stringify(toDiffusersUNetConfig(config))) as Record<string, unknown>,
  );

// What diffusers says in another way, or what makes no difference to the network.
const normal: Partial<Record<keyof typeof unetConfigs, Partial<UNetConfig>>> = {
  churches: { numHeads: undefined, numHeadChannels: 8 },
  'new attention order, attention at the last level only, classes': {
    numHeads: undefined,
    numHeadChannels: 8,
    useNewAttentionOrder: undefined,
  },
  text: { transformerDepth: 1 },
  'classes as a context, depth 2': { numHeads: 2, numHeadChannels: undefined },
  'attention in the middle only': {
    attentionResolutions: [],
    numHeads: undefined,
    numHeadChannels: 32,
  },
};

const names = Object.keys(unetConfigs) as (keyof typeof unetConfigs)[];
test.each(names)('%s: the network comes back as it was', (name) => {
  expect(isDiffusersConfig(toDiffusersUNetConfig(unetConfigs[name]))).toBe(true);
  expect({ ...throughJson(unetConfigs[name]) }).toEqual({ ...unetConfigs[name], ...normal[name] });
});

/** Of the published networks: how heads are told there, or why there is no such network. */
const published: Record<LatentDiffusionPreset, number | number[] | RegExp> = {
  celeba256: 32,
  ffhq256: 32,
  lsun_beds256: 32,
  lsun_churches256:
    /8 heads \(numHeads\) in attention blocks of different widths \(192, 384, 768\)/,
  cin256: [8, 16, 32],
  'cin256-v2': 1,
  text2img256: [6, 12, 18, 30],
  'txt2img-1p4B': 8,
  'layout2img-openimages256': [4, 8, 12, 16],
  semantic_synthesis256: 128,
  semantic_synthesis512: 128,
  bsr_sr: 32,
  inpainting_big: /8 heads \(numHeads\) in attention blocks of different widths \(512, 768, 1024\)/,
  rdm: [14, 28, 42, 56],
  'stable-diffusion-v1': 8,
  'stable-diffusion-v1-inpainting': 8,
};

test.each(Object.entries(published))('%s', (name, expected) => {
  const { unet } = latentDiffusionPresets[name as LatentDiffusionPreset];
  if (expected instanceof RegExp) {
    expect(() => toDiffusersUNetConfig(unet)).toThrow(ArgumentError);
    return expect(() => toDiffusersUNetConfig(unet)).toThrow(expected);
  }
  expect(toDiffusersUNetConfig(unet)).toMatchObject({ attention_head_dim: expected });
  const { useCheckpoint: _, legacy: __, attentionResolutions, numHeads, ...network } = unet;
  const reached = attentionResolutions.filter((ds) => ds < 2 ** unet.channelMult!.length);
  const back = throughJson(unet);
  expect(back).toMatchObject(network);
  expect([...back.attentionResolutions].sort()).toEqual([...reached].sort());
  if (unet.useSpatialTransformer) expect(back.numHeads).toBe(numHeads);
});

const celebahq = {
  _class_name: 'UNet2DModel',
  _diffusers_version: '0.1.2',
  act_fn: 'silu',
  attention_head_dim: 32,
  block_out_channels: [224, 448, 672, 896],
  center_input_sample: false,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 3,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 64,
  time_embedding_type: 'positional',
  up_block_types: ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
};
const cross = 'CrossAttnDownBlock2D';
const stableDiffusion = {
  _class_name: 'UNet2DConditionModel',
  _diffusers_version: '0.6.0',
  act_fn: 'silu',
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  center_input_sample: false,
  cross_attention_dim: 768,
  down_block_types: [cross, cross, cross, 'DownBlock2D'],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  sample_size: 64,
  up_block_types: ['UpBlock2D', ...Array<string>(3).fill('CrossAttnUpBlock2D')],
};

test('the published configurations are the networks of the paper', () => {
  const sorted = ({ attentionResolutions, ...rest }: UNetConfig) => ({
    ...rest,
    attentionResolutions: [...attentionResolutions].sort(),
  });
  const { celeba256, 'txt2img-1p4B': text } = latentDiffusionPresets;
  expect(sorted(fromDiffusersUNetConfig(celebahq))).toEqual({
    ...sorted(celeba256.unet),
    normGroups: 32,
  });
  const { useCheckpoint: _, legacy: __, ...network } = text.unet;
  const large = { ...stableDiffusion, sample_size: 32, cross_attention_dim: 1280 };
  expect(sorted(fromDiffusersUNetConfig(large))).toEqual({ ...sorted(network), normGroups: 32 });
  expect(fromDiffusersUNetConfig(stableDiffusion)).toMatchObject({
    contextDim: 768,
    imageSize: 64,
  });
  const second = { ...stableDiffusion, attention_head_dim: [5, 10, 20, 20] };
  expect(
    fromDiffusersUNetConfig({ ...second, use_linear_projection: true, upcast_attention: true }),
  ).toMatchObject({ numHeadChannels: 64 });
});

test('old names of blocks, and what files leave out', () => {
  const types = (list: string[]) => list.map((name) => `UNetRes${name}`);
  const former = { ...celebahq, down_block_types: types(celebahq.down_block_types) };
  expect(fromDiffusersUNetConfig(former)).toEqual(fromDiffusersUNetConfig(celebahq));
  const { imageSize: _, ...byDefault } = fromDiffusersUNetConfig({ _class_name: 'UNet2DModel' });
  expect(byDefault).toMatchObject({ modelChannels: 224, numHeadChannels: 8, numResBlocks: 2 });
  expect(fromDiffusersUNetConfig({ _class_name: 'UNet2DConditionModel' })).toMatchObject({
    modelChannels: 320,
    contextDim: 1280,
    numHeads: 8,
  });
});

describe('what diffusers lacks is refused by name', () => {
  const { celeba, text } = unetConfigs;
  const { numHeadChannels: _, ...headless } = celeba;
  const { numHeads: __, ...textHeadless } = text;
  test.each<[UNetConfig, RegExp]>([
    [{ ...celeba, convResample: false }, /convResample false/],
    [{ ...celeba, nEmbed: 9 }, /nEmbed/],
    [{ ...unetConfigs.churches, numHeadsUpsample: 4 }, /numHeadsUpsample/],
    [{ ...text, resblockUpdown: true }, /resblockUpdown at levels with spatial transformers/],
    [{ ...textHeadless, numHeadChannels: 5, legacy: false }, /heads of 5 channels/],
    [{ ...headless, numHeads: 2 }, /2 heads .* widths \(16, 24\)/],
    [{ ...celeba, modelChannels: 6 }, /divisible by normGroups/],
  ])('%j', (config, message) => {
    expect(() => toDiffusersUNetConfig(config)).toThrow(ArgumentError);
    expect(() => toDiffusersUNetConfig(config)).toThrow(message);
  });
});

describe('what the original lacks is refused by name', () => {
  test.each<[Record<string, unknown>, RegExp]>([
    [{ _class_name: 'UNet3DModel' }, /_class_name must be UNet2DModel or UNet2DConditionModel/],
    [{ freq_shift: 1 }, /freq_shift must be 0/],
    [{ flip_sin_to_cos: false }, /flip_sin_to_cos must be true/],
    [{ mid_block_scale_factor: 1.4 }, /mid_block_scale_factor must be 1/],
    [{ norm_eps: 1e-6 }, /norm_eps must be 0\.00001/],
    [{ time_embedding_type: 'fourier' }, /time_embedding_type must be "positional"/],
    [{ time_embedding_dim: 5 }, /must be 896, four times the first width/],
    [{ class_embed_type: 'timestep' }, /class_embed_type must be null/],
    [{ down_block_types: Array(4).fill('SkipDownBlock2D') }, /down_block_types must be a list/],
    [{ down_block_types: ['DownBlock2D'] }, /as many down_block_types/],
    [{ up_block_types: Array(4).fill('UpBlock2D') }, /different levels on the way down and up/],
    [{ downsample_type: 'resnet' }, /some levels resample in residual blocks/],
    [{ resnet_time_scale_shift: 'scale_shift' }, /middle's attention has no norm/],
    [{ attn_norm_num_groups: 16 }, /attn_norm_num_groups must be norm_num_groups/],
    [{ attention_head_dim: 100 }, /attention_head_dim 100 must divide/],
    [{ block_out_channels: [224, 300, 672, 896] }, /multiples of the first \(224\)\. Got 300/],
    [{ block_out_channels: 'wide' }, /block_out_channels must be a list/],
    [{ add_attention: false }, /add_attention must be true/],
    [{ cross_attention_dim: 5 }, /unknown option 'cross_attention_dim'/],
  ])('UNet2DModel: %j', (change, message) => {
    expect(() => fromDiffusersUNetConfig({ ...celebahq, ...change })).toThrow(ArgumentError);
    expect(() => fromDiffusersUNetConfig({ ...celebahq, ...change })).toThrow(message);
  });

  test.each<[Record<string, unknown>, RegExp]>([
    [{ attention_head_dim: [1, 2, 3, 4] }, /as many or as wide at all levels\. Got 1, 2, 3, 4/],
    [{ attention_head_dim: [8, 8] }, /as many numbers of heads\. Got 2/],
    [{ cross_attention_dim: [5, 6, 7, 8] }, /cross_attention_dim must be the same at all levels/],
    [
      { transformer_layers_per_block: [1, 2, 10, 10] },
      /transformer_layers_per_block must be the same/,
    ],
    [{ addition_embed_type: 'text_time' }, /addition_embed_type must be null/],
    [{ dual_cross_attention: true }, /dual_cross_attention must be false/],
    [{ only_cross_attention: [true, false] }, /only_cross_attention must be false/],
    [{ mid_block_type: null }, /mid_block_type must be "UNetMidBlock2DCrossAttn"/],
    [{ conv_in_kernel: 5 }, /conv_in_kernel must be 3/],
  ])('UNet2DConditionModel: %j', (change, message) => {
    expect(() => fromDiffusersUNetConfig({ ...stableDiffusion, ...change })).toThrow(message);
  });
});
