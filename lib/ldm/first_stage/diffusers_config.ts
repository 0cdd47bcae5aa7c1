/**
 * `config.json` of the diffusers library for its AutoencoderKL and VQModel: the same networks as here, told
 * by the width of each level and the type of its blocks.
 */
import { ArgumentError, check } from '../../errors.js';
import {
  anything,
  diffusersClass,
  diffusersOptions,
  levels,
  only,
  orNull,
  sampleSize,
  size,
} from '../diffusers_rules.js';
import { flag, integer, number, oneOf, type Rules } from '../rules.js';
import { withDefaults, type FirstStageConfig, type VqConfig } from './config.js';
import { checkFirstStageSpec, type FirstStageSpec } from './first_stage.js';

/** What a diffusers folder says of a first stage. */
export interface DiffusersFirstStage {
  readonly spec: FirstStageSpec;
  /** Latents are multiplied by it before diffusion; the original keeps it with the diffusion model. */
  readonly scaleFactor: number;
}

/** The part of diffusers' configuration that means something here, under its own names. */
interface DiffusersConfig {
  in_channels: number;
  out_channels: number;
  down_block_types: readonly string[];
  up_block_types: readonly string[];
  block_out_channels: readonly number[];
  layers_per_block: number;
  act_fn: string;
  latent_channels: number;
  norm_num_groups: number;
  sample_size: number | readonly number[];
  scaling_factor: number;
  mid_block_add_attention: boolean;
  norm_type: string;
  num_vq_embeddings: number;
  vq_embed_dim: number | null;
  use_quant_conv: boolean;
  use_post_quant_conv: boolean;
  shift_factor: number | null;
  force_upcast: boolean | number;
  lookup_from_codebook: boolean;
  latents_mean: unknown;
  latents_std: unknown;
}

const down = { plain: 'DownEncoderBlock2D', attention: 'AttnDownEncoderBlock2D' };
const up = { plain: 'UpDecoderBlock2D', attention: 'AttnUpDecoderBlock2D' };

const rules: Rules<DiffusersConfig> = {
  in_channels: size,
  out_channels: size,
  down_block_types: levels(oneOf(...Object.values(down))),
  up_block_types: levels(oneOf(...Object.values(up))),
  block_out_channels: levels(size),
  layers_per_block: integer(0, 64),
  act_fn: oneOf('silu', 'swish'),
  latent_channels: size,
  norm_num_groups: size,
  sample_size: sampleSize,
  scaling_factor: number(Number.MIN_VALUE),
  mid_block_add_attention: flag,
  norm_type: only('group', 'spatial norms are of another model (MoVQ)'),
  num_vq_embeddings: integer(1, 2 ** 24),
  vq_embed_dim: orNull(size),
  use_quant_conv: only(true, 'the original always has quant_conv'),
  use_post_quant_conv: only(true, 'the original always has post_quant_conv'),
  shift_factor: {
    expected: '0 or null, for the original has none',
    accepts: (value) => value === null || value === 0,
  },
  // how diffusers computes, not what
  force_upcast: anything,
  lookup_from_codebook: flag,
  latents_mean: anything,
  latents_std: anything,
};

// What its constructors take for options that a file leaves out.
const defaults: DiffusersConfig = {
  in_channels: 3,
  out_channels: 3,
  down_block_types: [down.plain],
  up_block_types: [up.plain],
  block_out_channels: [64],
  layers_per_block: 1,
  act_fn: 'silu',
  latent_channels: 4,
  norm_num_groups: 32,
  sample_size: 32,
  scaling_factor: 0.18215,
  mid_block_add_attention: true,
  norm_type: 'group',
  num_vq_embeddings: 256,
  vq_embed_dim: null,
  use_quant_conv: true,
  use_post_quant_conv: true,
  shift_factor: null,
  force_upcast: true,
  lookup_from_codebook: false,
  latents_mean: null,
  latents_std: null,
};

/**
 * Reads diffusers' configuration. Its blocks name no resolution: attention comes to lie at the sides that
 * its levels have for `sample_size`.
 *
 * @throws ArgumentError that names what is wrong, or what the original's networks lack
 */
export function fromDiffusersConfig(
  config: Readonly<Record<string, unknown>>,
): DiffusersFirstStage {
  const name = diffusersClass(config, ['AutoencoderKL', 'VQModel']);
  const kl = name === 'AutoencoderKL';
  const full = diffusersOptions<DiffusersConfig>(
    config,
    rules,
    { ...defaults, ...(kl ? {} : { latent_channels: 3 }) },
    ['block_out_channels'],
  );
  const [ch] = full.block_out_channels;
  const ddconfig: FirstStageConfig = {
    ch,
    outCh: full.out_channels,
    chMult: full.block_out_channels.map((width) => width / ch),
    numResBlocks: full.layers_per_block,
    ...attentionFrom(full),
    inChannels: full.in_channels,
    zChannels: full.latent_channels,
    doubleZ: kl,
    normGroups: full.norm_num_groups,
  };
  const embedDim = (kl ? null : full.vq_embed_dim) ?? full.latent_channels;
  const spec: FirstStageSpec = kl
    ? { kind: 'kl', ddconfig, embedDim }
    : { kind: 'vq', ddconfig, embedDim, nEmbed: full.num_vq_embeddings };
  checkFirstStageSpec(spec);
  return { spec, scaleFactor: full.scaling_factor };
}

function attentionFrom(config: DiffusersConfig) {
  const count = config.block_out_channels.length;
  const onTheWayDown = config.down_block_types.map((type) => type === down.attention);
  const onTheWayUp = config.up_block_types.map((type) => type === up.attention).reverse();
  check(onTheWayDown.length === count && onTheWayUp.length === count, () => {
    return `diffusers: ${count} block_out_channels need as many down_block_types and up_block_types.`;
  });
  check(onTheWayDown.join() === onTheWayUp.join(), () => {
    return 'diffusers: encoder and decoder have attention at different levels, which the original cannot.';
  });
  const some = onTheWayDown.includes(true);
  check(!some || config.mid_block_add_attention, () => {
    return 'diffusers: attention at a level but none in the middle is what the original cannot have.';
  });
  // Halving must stay exact: sides of different levels may not fall together.
  const step = 2 ** (count - 1);
  const [side] = [config.sample_size].flat();
  const resolution = Math.ceil(side / step) * step;
  return {
    resolution,
    attnResolutions: onTheWayDown.flatMap((attends, l) => (attends ? [resolution / 2 ** l] : [])),
    ...(config.mid_block_add_attention ? {} : { attnType: 'none' as const }),
  };
}

/**
 * diffusers' configuration of a first stage. What concerns training alone (dropout, weights of losses) has
 * no place there and is left out.
 *
 * @throws ArgumentError that names the option which diffusers' networks lack
 */
export function toDiffusersConfig({
  spec,
  scaleFactor,
}: DiffusersFirstStage): Record<string, unknown> {
  const lacks = (option: string): string =>
    `diffusers: its autoencoders have no counterpart of ${option}, so this model cannot be converted.`;
  if (spec.kind === 'identity') throw new ArgumentError(lacks("kind 'identity'"));
  const full = withDefaults(spec.ddconfig);
  const { ch, chMult, attnType, zChannels } = full;
  const { remap, codebookEma } = spec as VqConfig;
  const refused: Record<string, boolean> = {
    'a chMult that begins with another number than 1': chMult[0] !== 1,
    "attnType 'linear'": attnType === 'linear',
    'resampWithConv false': !full.resampWithConv,
    givePreEnd: full.givePreEnd,
    tanhOut: full.tanhOut,
    colorizeNlabels: spec.colorizeNlabels !== undefined,
    'an embedDim other than zChannels in KL models':
      spec.kind === 'kl' && spec.embedDim !== zChannels,
    remap: remap !== undefined,
    codebookEma: codebookEma !== undefined,
  };
  for (const [option, present] of Object.entries(refused)) check(!present, () => lacks(option));

  const attends = (side: number) => attnType !== 'none' && full.attnResolutions.includes(side);
  const last = chMult.length - 1;
  const encoderSides = chMult.map((_, l) => Math.floor(full.resolution / 2 ** l));
  const decoderSides = chMult.map((_, i) => Math.floor(full.resolution / 2 ** last) * 2 ** i);
  return {
    _class_name: spec.kind === 'kl' ? 'AutoencoderKL' : 'VQModel',
    act_fn: 'silu',
    block_out_channels: chMult.map((multiplier) => ch * multiplier),
    down_block_types: encoderSides.map((side) => (attends(side) ? down.attention : down.plain)),
    in_channels: full.inChannels,
    latent_channels: zChannels,
    layers_per_block: full.numResBlocks,
    mid_block_add_attention: attnType !== 'none',
    norm_num_groups: full.normGroups,
    ...(spec.kind === 'kl' ? {} : { num_vq_embeddings: spec.nEmbed }),
    out_channels: full.outCh,
    sample_size: full.resolution,
    scaling_factor: scaleFactor,
    up_block_types: decoderSides.map((side) => (attends(side) ? up.attention : up.plain)),
    ...(spec.kind === 'kl' ? {} : { vq_embed_dim: spec.embedDim }),
  };
}
