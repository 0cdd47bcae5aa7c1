// diffusers' names and configuration, written out by hand where a fact of that library is meant.
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  buildFirstStage,
  diffusersKey,
  firstStagePresets,
  fromDiffusersConfig,
  isDiffusersConfig,
  toDiffusersConfig,
  type FirstStageSpec,
} from '../../../lib/index.js';

test("names at both ends of each kind of layer, and the decoder's order", () => {
  const names: Record<string, string> = {
    'encoder.conv_in.weight': 'encoder.conv_in.weight',
    'encoder.down.0.block.1.norm1.bias': 'encoder.down_blocks.0.resnets.1.norm1.bias',
    'encoder.down.2.block.0.nin_shortcut.weight':
      'encoder.down_blocks.2.resnets.0.conv_shortcut.weight',
    'encoder.down.1.downsample.conv.bias': 'encoder.down_blocks.1.downsamplers.0.conv.bias',
    'encoder.down.3.attn.0.norm.weight': 'encoder.down_blocks.3.attentions.0.group_norm.weight',
    'encoder.down.3.attn.1.q.weight': 'encoder.down_blocks.3.attentions.1.to_q.weight',
    'encoder.mid.block_1.conv1.weight': 'encoder.mid_block.resnets.0.conv1.weight',
    'encoder.mid.block_2.norm2.bias': 'encoder.mid_block.resnets.1.norm2.bias',
    'encoder.mid.attn_1.proj_out.bias': 'encoder.mid_block.attentions.0.to_out.0.bias',
    'encoder.norm_out.weight': 'encoder.conv_norm_out.weight',
    'decoder.mid.attn_1.norm.bias': 'decoder.mid_block.attentions.0.group_norm.bias',
    'decoder.mid.attn_1.v.weight': 'decoder.mid_block.attentions.0.to_v.weight',
    'decoder.up.0.block.2.conv2.weight': 'decoder.up_blocks.3.resnets.2.conv2.weight',
    'decoder.up.3.upsample.conv.weight': 'decoder.up_blocks.0.upsamplers.0.conv.weight',
    'decoder.up.3.attn.2.k.bias': 'decoder.up_blocks.0.attentions.2.to_k.bias',
    'decoder.norm_out.bias': 'decoder.conv_norm_out.bias',
    'quant_conv.weight': 'quant_conv.weight',
    'post_quant_conv.bias': 'post_quant_conv.bias',
    'quantize.embedding.weight': 'quantize.embedding.weight',
  };
  for (const [ours, theirs] of Object.entries(names)) expect(diffusersKey(ours, 4)).toBe(theirs);
});

const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 2, 2],
  numResBlocks: 2,
  attnResolutions: [16, 8],
  inChannels: 3,
  resolution: 32,
  zChannels: 4,
  doubleZ: true,
  normGroups: 4,
};
const specs: Record<string, FirstStageSpec> = {
  kl: { kind: 'kl', embedDim: 4, ddconfig },
  vq: { kind: 'vq', embedDim: 3, nEmbed: 7, ddconfig: { ...ddconfig, doubleZ: false } },
};

test.each(Object.entries(specs))('%s: every tensor has a name of its own', (_, spec) => {
  const keys = [...buildFirstStage(spec).exportState().keys()];
  const names = keys.map((key) => diffusersKey(key, 3));
  expect(new Set(names).size).toBe(keys.length);
  const original = /\.(down|up|mid|block|attn|block_\d|attn_\d|nin_shortcut|norm_out|proj_out)\./;
  expect(names.filter((name) => original.test(name))).toEqual([]);
});

test.each(Object.entries(specs))('%s: the configuration comes back as it was', (_, spec) => {
  const config = toDiffusersConfig({ spec, scaleFactor: 0.25 });
  expect(isDiffusersConfig(config)).toBe(true);
  expect(fromDiffusersConfig(JSON.parse(JSON.stringify(config)))).toEqual({
    spec,
    scaleFactor: 0.25,
  });
});

type Network = Exclude<FirstStageSpec, { kind: 'identity' }>;
const presets: Readonly<Record<string, FirstStageSpec>> = firstStagePresets;
const networks = Object.entries(presets).filter(
  (entry): entry is [string, Network] => entry[1].kind !== 'identity',
);

test.each(networks)('%s has a place there and comes back', (name, preset) => {
  const { attnType, ...architecture } = { attnType: undefined, ...preset.ddconfig };
  const { spec } = fromDiffusersConfig(toDiffusersConfig({ spec: preset, scaleFactor: 1 }));
  expect(spec).toMatchObject({ kind: preset.kind, embedDim: preset.embedDim });
  const { dropout, ...expected } = architecture;
  expect(dropout ?? 0).toBe(0);
  expect((spec as Network).ddconfig).toMatchObject({
    ...expected,
    ...(attnType && { attnType }),
  });
});

test("the configuration of Stable Diffusion's autoencoder is kl-f8", () => {
  const sd = {
    _class_name: 'AutoencoderKL',
    _diffusers_version: '0.6.0',
    act_fn: 'silu',
    block_out_channels: [128, 256, 512, 512],
    down_block_types: Array(4).fill('DownEncoderBlock2D'),
    in_channels: 3,
    latent_channels: 4,
    layers_per_block: 2,
    norm_num_groups: 32,
    out_channels: 3,
    sample_size: 512,
    up_block_types: Array(4).fill('UpDecoderBlock2D'),
  };
  const { spec, scaleFactor } = fromDiffusersConfig(sd);
  const { dropout: _, ...expected } = (presets['kl-f8'] as Network).ddconfig;
  expect(spec).toMatchObject({
    kind: 'kl',
    embedDim: 4,
    ddconfig: { ...expected, resolution: 512 },
  });
  expect(scaleFactor).toBe(0.18215);
});

describe('what one side lacks is refused by name', () => {
  const kl = { kind: 'kl' as const, embedDim: 4 };
  test.each<[FirstStageSpec, RegExp]>([
    [{ kind: 'identity' }, /identity/],
    [{ ...kl, embedDim: 3, ddconfig }, /embedDim other than zChannels/],
    [{ ...kl, ddconfig: { ...ddconfig, tanhOut: true } }, /tanhOut/],
    [{ ...kl, ddconfig: { ...ddconfig, resampWithConv: false } }, /resampWithConv/],
    [{ ...kl, ddconfig: { ...ddconfig, useLinearAttn: true } }, /linear/],
    [{ ...kl, ddconfig: { ...ddconfig, chMult: [2, 4] } }, /chMult/],
  ])('%j', (spec, message) => {
    const convert = () => toDiffusersConfig({ spec, scaleFactor: 1 });
    expect(convert).toThrow(ArgumentError);
    expect(convert).toThrow(message);
  });

  const config = toDiffusersConfig({ spec: specs.vq, scaleFactor: 1 });
  test.each<[Record<string, unknown>, RegExp]>([
    [
      { _class_name: 'UNet2DModel' },
      /_class_name must be AutoencoderKL or VQModel\. Got "UNet2DModel"/,
    ],
    [{ norm_type: 'spatial' }, /norm_type must be "group"/],
    [{ use_quant_conv: false }, /use_quant_conv must be true/],
    [{ shift_factor: 0.1159 }, /shift_factor must be 0 or null/],
    [{ block_out_channels: 'wide' }, /block_out_channels must be a list/],
    [{ block_out_channels: [8, 12, 16] }, /chMult/],
    [{ block_out_channels: [8, 16] }, /as many down_block_types/],
    [{ up_block_types: Array(3).fill('UpDecoderBlock2D') }, /attention at different levels/],
    [{ mid_block_add_attention: false }, /none in the middle/],
    [{ act_fn: 'relu' }, /act_fn must be one of silu, swish/],
    [{ unheard_of: 1 }, /unknown option 'unheard_of'/],
  ])('%j', (change, message) => {
    expect(() => fromDiffusersConfig({ ...config, ...change })).toThrow(ArgumentError);
    expect(() => fromDiffusersConfig({ ...config, ...change })).toThrow(message);
  });
});
