// The original's denoising network, and the classifier made of its half, as targets.
import {
  checkEncoderUNetConfig,
  checkUNetConfig,
  EncoderUNetModel,
  UNetModel,
  type EncoderUNetConfig,
  type UNetConfig,
} from '../ldm/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  convert,
  integer,
  list,
  mapping,
  number,
  oneOf,
  optional,
  type Field,
  type FieldsOf,
} from './fields.js';
import type { ConfigNode } from './node.js';
import { Targets, type Instance } from './targets.js';

export type UNetInstance = Instance<UNetConfig, UNetModel, []>;

/** What may stand as `unet_config`. */
export const unetTargets = new Targets<UNetConfig, UNetModel>('a denoising network');

const count = integer({ min: 1 });
// the original writes -1 for "not set"
const optionalCount = optional(integer({ min: -1 }));

// Some published files give the width in a list of one.
const contextDim: Field<number> = {
  read: (node, name) => {
    const [only, second] = node.kind === 'list' ? node.items : [node];
    if (!only || second)
      throw new ConfigError(
        `${name} must be one number: layers read the same context.`,
        node.place,
      );
    return count.read(only, name);
  },
};

/** What both networks have. */
type Shared = Omit<EncoderUNetConfig, 'pool' | 'legacy'> & { dims?: number };

const shared: FieldsOf<Shared> = {
  image_size: optional(count),
  in_channels: count,
  out_channels: count,
  model_channels: count,
  num_res_blocks: count,
  attention_resolutions: list(count),
  dropout: optional(number({ min: 0, max: 1 })),
  channel_mult: optional(list(count)),
  conv_resample: optional(boolean),
  dims: optional(integer({ min: 2, max: 2 })),
  use_checkpoint: optional(boolean),
  num_heads: optionalCount,
  num_head_channels: optionalCount,
  num_heads_upsample: optionalCount,
  use_scale_shift_norm: optional(boolean),
  resblock_updown: optional(boolean),
  use_new_attention_order: optional(boolean),
  norm_groups: optional(count),
};

// It never worked there; precision is chosen with the training here.
const halfPrecision = 'use_fp16';

const denoiser = mapping<UNetConfig & { dims?: number }>(
  {
    ...shared,
    num_classes: optional(count),
    use_spatial_transformer: optional(boolean),
    transformer_depth: optional(count),
    context_dim: optional(contextDim),
    n_embed: optional(count),
    legacy: optional(boolean),
  },
  [halfPrecision],
);

// It is built from a diffusion model's own parameters, and has no use for some of them.
const classifier = mapping<Omit<EncoderUNetConfig, 'legacy'> & { dims?: number }>(
  { ...shared, pool: optional(oneOf('adaptive', 'attention', 'spatial', 'spatial_v2')) },
  [
    halfPrecision,
    'use_spatial_transformer',
    'transformer_depth',
    'context_dim',
    'num_classes',
    'n_embed',
    'legacy',
  ],
);

// What a network itself refuses is told with its place as well.
function checked<C extends { dims?: number }>(check: (config: Omit<C, 'dims'>) => void) {
  return ({ dims: _, ...network }: C, node: ConfigNode): Omit<C, 'dims'> => {
    try {
      check(network);
    } catch (error) {
      throw new ConfigError((error as Error).message, node.place, { cause: error });
    }
    return network;
  };
}

unetTargets.register(['ldm.modules.diffusionmodules.openaimodel.UNetModel', 'emulsion.UNetModel'], {
  params: convert(denoiser, checked<UNetConfig & { dims?: number }>(checkUNetConfig)),
  build: (network) => new UNetModel(network),
});

/** What may stand where a classifier of noisy latents is built. */
export const classifierTargets = new Targets<EncoderUNetConfig, EncoderUNetModel>(
  'a classifier of noisy latents',
);

classifierTargets.register(
  ['ldm.modules.diffusionmodules.openaimodel.EncoderUNetModel', 'emulsion.EncoderUNetModel'],
  {
    params: convert(
      classifier,
      checked<EncoderUNetConfig & { dims?: number }>(checkEncoderUNetConfig),
    ),
    build: (network) => new EncoderUNetModel(network),
  },
);
