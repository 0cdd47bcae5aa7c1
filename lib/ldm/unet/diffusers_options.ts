/** The options of diffusers' UNet2DModel and UNet2DConditionModel: those that vary, and what others must be. */
import { anything, levels, only, orNull, sampleSize, size } from '../diffusers_rules.js';
import { either, flag, integer, number, oneOf, type Rule, type Rules } from '../rules.js';

/** What both classes have, under diffusers' own names. */
export interface CommonOptions {
  sample_size: number | readonly number[] | null;
  in_channels: number;
  out_channels: number;
  down_block_types: readonly string[];
  up_block_types: readonly string[];
  block_out_channels: readonly number[];
  dropout: number;
  norm_num_groups: number;
  resnet_time_scale_shift: string;
  time_embedding_dim: number | null;
  num_class_embeds: number | null;
}

/** UNet2DModel: attention among positions alone. */
export interface PlainOptions extends CommonOptions {
  layers_per_block: number;
  downsample_type: string;
  upsample_type: string;
  /** width of each head; null for one head of all channels */
  attention_head_dim: number | null;
  attn_norm_num_groups: number | null;
}

/** UNet2DConditionModel: transformers that attend to a context as well. */
export interface ConditionOptions extends CommonOptions {
  layers_per_block: number | readonly number[];
  cross_attention_dim: number | readonly number[];
  transformer_layers_per_block: number | readonly number[];
  /** number of heads, in spite of its name */
  attention_head_dim: number | readonly number[];
  num_attention_heads: number | readonly number[] | null;
}

/** Names of a level's blocks: with attention and, by how they change the resolution, without. */
export interface BlockTypes {
  readonly attention: string;
  readonly conv: string;
  readonly resnet: string;
}

export const plainBlocks = {
  down: { attention: 'AttnDownBlock2D', conv: 'DownBlock2D', resnet: 'ResnetDownsampleBlock2D' },
  up: { attention: 'AttnUpBlock2D', conv: 'UpBlock2D', resnet: 'ResnetUpsampleBlock2D' },
};
export const conditionBlocks = {
  down: { ...plainBlocks.down, attention: 'CrossAttnDownBlock2D' },
  up: { ...plainBlocks.up, attention: 'CrossAttnUpBlock2D' },
};

/** A block's name without what files from before version 0.4 put before it. */
export const presentType = (name: string): string => name.replace(/^UNetRes/, '');

const blockType = (types: BlockTypes): Rule => {
  const { expected, accepts } = oneOf(...Object.values(types as unknown as Record<string, string>));
  return {
    expected,
    accepts: (value) => accepts(typeof value === 'string' ? presentType(value) : value),
  };
};

const attends = "the original's middle always has attention";
const embedsTime = 'the original embeds timesteps so';
const noAddition = 'the original has no such addition';
const unscaled = "the original's blocks are not scaled";
const kernels = "the original's convolutions are 3x3";
const selfAttention = 'the original attends to positions as well';

const shared = {
  sample_size: orNull(sampleSize),
  in_channels: size,
  out_channels: size,
  block_out_channels: levels(size),
  dropout: number(0, 1),
  norm_num_groups: size,
  resnet_time_scale_shift: oneOf('default', 'scale_shift'),
  time_embedding_dim: orNull(size),
  num_class_embeds: orNull(integer(1, 2 ** 24)),
  // and what cannot vary
  act_fn: oneOf('silu', 'swish'),
  center_input_sample: only(false, 'inputs are taken as they are'),
  class_embed_type: only(null, 'classes have a table of embeddings or none'),
  downsample_padding: only(1, 'the original pads all sides'),
  flip_sin_to_cos: only(true, embedsTime),
  freq_shift: only(0, embedsTime),
  mid_block_scale_factor: only(1, unscaled),
  norm_eps: only(1e-5, "that of the original's norms"),
  time_embedding_type: only('positional', embedsTime),
};

const layerCount = integer(0, 64);
const depth = integer(1, 64);
const oneOrEach = (rule: Rule): Rule => either(rule, levels(rule));

export const plainRules = {
  ...shared,
  down_block_types: levels(blockType(plainBlocks.down)),
  up_block_types: levels(blockType(plainBlocks.up)),
  layers_per_block: layerCount,
  downsample_type: oneOf('conv', 'resnet'),
  upsample_type: oneOf('conv', 'resnet'),
  attention_head_dim: orNull(size),
  attn_norm_num_groups: orNull(size),
  add_attention: only(true, attends),
  mid_block_type: only('UNetMidBlock2D', attends),
  num_train_timesteps: anything, // for learned embeddings of time alone
} satisfies Rules<PlainOptions> & Readonly<Record<string, Rule>>;

export const conditionRules = {
  ...shared,
  down_block_types: levels(blockType(conditionBlocks.down)),
  up_block_types: levels(blockType(conditionBlocks.up)),
  layers_per_block: oneOrEach(layerCount),
  cross_attention_dim: oneOrEach(size),
  transformer_layers_per_block: oneOrEach(depth),
  attention_head_dim: oneOrEach(size),
  num_attention_heads: orNull(oneOrEach(size)),
  use_linear_projection: flag, // the same values in another shape
  upcast_attention: flag, // how diffusers computes, not what
  addition_embed_type: only(null, noAddition),
  addition_embed_type_num_heads: anything, // of such an addition
  addition_time_embed_dim: only(null, noAddition),
  attention_type: only('default', noAddition),
  class_embeddings_concat: only(false, 'embeddings of classes are added'),
  conv_in_kernel: only(3, kernels),
  conv_out_kernel: only(3, kernels),
  cross_attention_norm: only(null, noAddition),
  dual_cross_attention: only(false, 'the original has one context'),
  encoder_hid_dim: only(null, noAddition),
  encoder_hid_dim_type: only(null, noAddition),
  mid_block_only_cross_attention: orNull(only(false, selfAttention)),
  mid_block_type: only('UNetMidBlock2DCrossAttn', attends),
  only_cross_attention: only(false, selfAttention),
  projection_class_embeddings_input_dim: only(null, noAddition),
  resnet_out_scale_factor: only(1, unscaled),
  resnet_skip_time_act: only(false, 'the original activates the embedding of time'),
  reverse_transformer_layers_per_block: only(null, 'the way up mirrors the way down'),
  time_cond_proj_dim: only(null, embedsTime),
  time_embedding_act_fn: only(null, embedsTime),
  timestep_post_act: only(null, embedsTime),
} satisfies Rules<ConditionOptions> & Readonly<Record<string, Rule>>;

// What their constructors take for options that a file leaves out.
const sharedDefaults = {
  sample_size: null,
  dropout: 0,
  norm_num_groups: 32,
  resnet_time_scale_shift: 'default',
  time_embedding_dim: null,
  num_class_embeds: null,
  layers_per_block: 2,
};

export const plainDefaults: PlainOptions = {
  ...sharedDefaults,
  in_channels: 3,
  out_channels: 3,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
  block_out_channels: [224, 448, 672, 896],
  downsample_type: 'conv',
  upsample_type: 'conv',
  attention_head_dim: 8,
  attn_norm_num_groups: null,
};

const [crossDown, crossUp] = [conditionBlocks.down.attention, conditionBlocks.up.attention];

export const conditionDefaults: ConditionOptions = {
  ...sharedDefaults,
  in_channels: 4,
  out_channels: 4,
  down_block_types: [crossDown, crossDown, crossDown, 'DownBlock2D'],
  up_block_types: ['UpBlock2D', crossUp, crossUp, crossUp],
  block_out_channels: [320, 640, 1280, 1280],
  cross_attention_dim: 1280,
  transformer_layers_per_block: 1,
  attention_head_dim: 8,
  num_attention_heads: null,
};
