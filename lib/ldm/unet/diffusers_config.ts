/**
 * `config.json` of the diffusers library for its UNet2DModel and UNet2DConditionModel: the network here is
 * the second where it has spatial transformers. Levels are told by their widths and the types of their blocks.
 */
import { check } from '../../errors.js';
import { diffusersClass, diffusersOptions } from '../diffusers_rules.js';
import { headsOf, withDefaults, type FullUNetConfig, type UNetConfig } from './config.js';
import {
  conditionBlocks,
  conditionDefaults,
  conditionRules,
  plainBlocks,
  plainDefaults,
  plainRules,
  presentType,
  type CommonOptions,
  type ConditionOptions,
  type PlainOptions,
} from './diffusers_options.js';
import { checkUNetConfig } from './rules.js';

/** diffusers' classes of such networks. */
export const diffusersUNets = ['UNet2DModel', 'UNet2DConditionModel'] as const;

type Heads = Pick<UNetConfig, 'numHeads' | 'numHeadChannels'>;

/**
 * Reads diffusers' configuration.
 *
 * @throws ArgumentError that names what is wrong, or what the original's networks lack
 */
export function fromDiffusersUNetConfig(config: Readonly<Record<string, unknown>>): UNetConfig {
  const unet =
    diffusersClass(config, diffusersUNets) === 'UNet2DModel'
      ? fromPlain(diffusersOptions(config, plainRules, plainDefaults))
      : fromCondition(diffusersOptions(config, conditionRules, conditionDefaults));
  checkUNetConfig(unet);
  return unet;
}

function fromPlain(options: PlainOptions): UNetConfig {
  const { downsample_type, upsample_type, attention_head_dim: headDim } = options;
  const { norm_num_groups: groups, attn_norm_num_groups: attentionGroups } = options;
  check(attentionGroups === null || attentionGroups === groups, () => {
    return `diffusers: attn_norm_num_groups must be norm_num_groups (${groups}). Got ${attentionGroups}.`;
  });
  check(options.resnet_time_scale_shift === 'default' || attentionGroups !== null, () => {
    return (
      "diffusers: with resnet_time_scale_shift 'scale_shift' and no attn_norm_num_groups the middle's " +
      'attention has no norm, which the original always has.'
    );
  });
  const common = commonOf(options);
  const structure = structureOf(options, plainBlocks, [downsample_type, upsample_type]);
  const odd = attendedWidths(options, structure).find((width) => width % (headDim ?? 1) !== 0);
  check(odd === undefined, () => {
    return `diffusers: attention_head_dim ${headDim} must divide the widths with attention. Got ${odd}.`;
  });
  return {
    ...common,
    ...structure,
    numResBlocks: options.layers_per_block,
    ...(headDim === null ? { numHeads: 1 } : { numHeadChannels: headDim }),
  };
}

function fromCondition(options: ConditionOptions): UNetConfig {
  const common = commonOf(options);
  // blocks with transformers always resample with convolutions
  const structure = structureOf(options, conditionBlocks, ['conv', 'conv']);
  return {
    ...common,
    ...structure,
    numResBlocks: sameAtAllLevels(options, 'layers_per_block'),
    ...conditionHeads(options, structure),
    useSpatialTransformer: true,
    transformerDepth: sameAtAllLevels(options, 'transformer_layers_per_block'),
    contextDim: sameAtAllLevels(options, 'cross_attention_dim'),
  };
}

function commonOf(options: CommonOptions) {
  const { sample_size, in_channels, out_channels, block_out_channels: widths, dropout } = options;
  const { norm_num_groups, resnet_time_scale_shift, time_embedding_dim, num_class_embeds } =
    options;
  const [modelChannels] = widths;
  check(time_embedding_dim === null || time_embedding_dim === 4 * modelChannels, () => {
    return `diffusers: time_embedding_dim must be ${4 * modelChannels}, four times the first width. Got ${time_embedding_dim}.`;
  });
  const odd = widths.find((width) => width % modelChannels !== 0);
  check(odd === undefined, () => {
    return `diffusers: block_out_channels must be multiples of the first (${modelChannels}). Got ${odd}.`;
  });
  const [imageSize] = [sample_size ?? []].flat();
  return {
    ...(imageSize !== undefined && { imageSize }),
    inChannels: in_channels,
    outChannels: out_channels,
    modelChannels,
    channelMult: widths.map((width) => width / modelChannels),
    normGroups: norm_num_groups,
    ...(dropout > 0 && { dropout }),
    ...(num_class_embeds !== null && { numClasses: num_class_embeds }),
    ...(resnet_time_scale_shift === 'scale_shift' && { useScaleShiftNorm: true }),
  };
}

type Structure = Pick<UNetConfig, 'attentionResolutions' | 'resblockUpdown'>;

// Where attention is and how levels are joined, from the names of blocks. `attending` tells how blocks with
// attention resample, down and up.
function structureOf(
  options: CommonOptions,
  blocks: typeof plainBlocks,
  attending: readonly [string, string],
): Structure {
  const count = options.block_out_channels.length;
  const down = options.down_block_types.map(presentType);
  const up = options.up_block_types.map(presentType).reverse();
  check(down.length === count && up.length === count, () => {
    return `diffusers: ${count} block_out_channels need as many down_block_types and up_block_types.`;
  });
  const attended = down.map((type) => type === blocks.down.attention);
  check(attended.join() === up.map((type) => type === blocks.up.attention).join(), () => {
    return 'diffusers: attention lies at different levels on the way down and up, which the original cannot.';
  });
  // the last level has nothing to halve for, the first nothing to double for
  const residual = [
    ...down.slice(0, -1).map((type, l) => (attended[l] ? attending[0] : type)),
    ...up.slice(1).map((type, l) => (attended[l + 1] ? attending[1] : type)),
  ].map((type) => [blocks.down.resnet, blocks.up.resnet, 'resnet'].includes(type));
  check(new Set(residual).size < 2, () => {
    return 'diffusers: some levels resample in residual blocks and others with convolutions, which the original cannot.';
  });
  return {
    attentionResolutions: attended.flatMap((attends, l) => (attends ? [2 ** l] : [])),
    ...(residual[0] && { resblockUpdown: true }),
  };
}

/** Widths at which there is attention; the middle, which always has it, comes last. */
function attendedWidths(options: CommonOptions, { attentionResolutions }: Structure): number[] {
  const { block_out_channels: widths } = options;
  return [...widths.filter((_, l) => attentionResolutions.includes(2 ** l)), ...widths.slice(-1)];
}

function conditionHeads(options: ConditionOptions, structure: Structure): Heads {
  const given = options.num_attention_heads ?? options.attention_head_dim;
  if (typeof given === 'number') return { numHeads: given };
  const { block_out_channels: widths } = options;
  check(given.length === widths.length, () => {
    return `diffusers: ${widths.length} block_out_channels need as many numbers of heads. Got ${given.length}.`;
  });
  const attended = widths
    .map((width, l) => ({
      width,
      heads: given[l],
      attends: structure.attentionResolutions.includes(2 ** l),
    }))
    .filter(({ attends }, l) => attends || l === widths.length - 1);
  const [{ width, heads }] = attended;
  if (attended.every((level) => level.heads === heads)) return { numHeads: heads };
  check(
    attended.every((level) => level.width * heads === width * level.heads),
    () => {
      return `diffusers: heads must be as many or as wide at all levels. Got ${given.join(', ')} of them for the widths ${widths.join(', ')}.`;
    },
  );
  return { numHeadChannels: width / heads };
}

function sameAtAllLevels<Name extends keyof ConditionOptions>(
  options: ConditionOptions,
  name: Name & ('layers_per_block' | 'transformer_layers_per_block' | 'cross_attention_dim'),
): number {
  const given = [options[name] as number | readonly number[]].flat();
  check(new Set(given).size === 1, () => {
    return `diffusers: ${name} must be the same at all levels in the original. Got ${given.join(', ')}.`;
  });
  return given[0];
}

/**
 * diffusers' configuration of a network. The order of the channels in `qkv` has no place there: weights are
 * split by it.
 *
 * @throws ArgumentError that names the option which diffusers' networks lack
 */
export function toDiffusersUNetConfig(config: UNetConfig): Record<string, unknown> {
  checkUNetConfig(config);
  const full = withDefaults(config);
  const { modelChannels, channelMult, attentionResolutions, resblockUpdown } = full;
  const attends = channelMult.map((_, l) => attentionResolutions.includes(2 ** l));
  const refused: Record<string, boolean> = {
    'convResample false': !full.convResample,
    'nEmbed, a network that predicts codes': full.nEmbed > 0,
    'numHeadsUpsample other than numHeads':
      full.numHeadChannels <= 0 && full.numHeadsUpsample !== full.numHeads,
    'resblockUpdown at levels with spatial transformers':
      full.useSpatialTransformer && resblockUpdown && attends.length > 1 && attends.includes(true),
  };
  for (const [option, present] of Object.entries(refused)) check(!present, () => lacks(option));

  const blocks = full.useSpatialTransformer ? conditionBlocks : plainBlocks;
  const resampling = resblockUpdown ? 'resnet' : 'conv';
  const types = (names: typeof plainBlocks.down) =>
    attends.map((attended) => names[attended ? 'attention' : resampling]);
  const widths = channelMult.map((multiplier) => multiplier * modelChannels);
  return {
    _class_name: diffusersUNets[full.useSpatialTransformer ? 1 : 0],
    act_fn: 'silu',
    block_out_channels: widths,
    center_input_sample: false,
    down_block_types: types(blocks.down),
    downsample_padding: 1,
    dropout: full.dropout,
    flip_sin_to_cos: true,
    freq_shift: 0,
    in_channels: full.inChannels,
    layers_per_block: full.numResBlocks,
    mid_block_scale_factor: 1,
    norm_eps: 1e-5,
    norm_num_groups: full.normGroups,
    num_class_embeds: full.numClasses || null,
    out_channels: full.outChannels,
    resnet_time_scale_shift: full.useScaleShiftNorm ? 'scale_shift' : 'default',
    sample_size: full.imageSize || null,
    up_block_types: types(blocks.up).reverse(),
    ...(full.useSpatialTransformer
      ? {
          attention_head_dim: headsPerLevel(full, widths, attends),
          cross_attention_dim: full.contextDim,
          transformer_layers_per_block: full.transformerDepth,
        }
      : {
          attention_head_dim: headWidth(full, widths, attends),
          // without it, scale and shift would leave the middle's attention without a norm
          attn_norm_num_groups: full.useScaleShiftNorm ? full.normGroups : null,
          downsample_type: resampling,
          time_embedding_type: 'positional',
          upsample_type: resampling,
        }),
  };
}

const lacks = (option: string): string =>
  `diffusers: its U-Nets have no counterpart of ${option}, so this model cannot be converted.`;

// UNet2DModel has one width of heads for all levels, or one head at each.
function headWidth(
  config: FullUNetConfig,
  widths: readonly number[],
  attends: readonly boolean[],
): number | null {
  const attended = widths.filter((_, l) => attends[l] || l === widths.length - 1);
  const heads = attended.map((width) => headsOf(width, config, config.numHeads));
  if (heads.every(({ headDim }) => headDim === heads[0].headDim)) return heads[0].headDim;
  check(
    heads.every((level) => level.heads === 1),
    () => {
      return lacks(
        `${config.numHeads} heads (numHeads) in attention blocks of different widths (${[...new Set(attended)].join(', ')})`,
      );
    },
  );
  return null;
}

// UNet2DConditionModel has a number of heads for each level, which share its width.
function headsPerLevel(
  config: FullUNetConfig,
  widths: readonly number[],
  attends: readonly boolean[],
): number | number[] {
  const counts = widths.map((width, l) => {
    const { heads, headDim } = headsOf(width, config, config.numHeads);
    const used = attends[l] || l === widths.length - 1;
    check(!used || (heads > 0 && headDim === Math.floor(width / heads)), () => {
      return lacks(`heads of ${headDim} channels (numHeadChannels) at the width ${width}`);
    });
    return Math.max(heads, 1);
  });
  return new Set(counts).size === 1 ? counts[0] : counts;
}
