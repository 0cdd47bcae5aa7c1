// The original's denoising network as a target.
import { checkUNetConfig, UNetModel, type UNetConfig } from '../ldm/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  convert,
  integer,
  list,
  mapping,
  number,
  optional,
  type Field,
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
      throw new ConfigError(`${name} must be one number: layers read the same context.`, node.place);
    return count.read(only, name);
  },
};

const config = mapping<UNetConfig & { dims?: number }>(
  {
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
    num_classes: optional(count),
    use_checkpoint: optional(boolean),
    num_heads: optionalCount,
    num_head_channels: optionalCount,
    num_heads_upsample: optionalCount,
    use_scale_shift_norm: optional(boolean),
    resblock_updown: optional(boolean),
    use_new_attention_order: optional(boolean),
    use_spatial_transformer: optional(boolean),
    transformer_depth: optional(count),
    norm_groups: optional(count),
    context_dim: optional(contextDim),
    n_embed: optional(count),
    legacy: optional(boolean),
  },
  // It never worked there; precision is chosen with the training here.
  ['use_fp16'],
);

function checked({ dims: _, ...network }: UNetConfig & { dims?: number }, node: ConfigNode) {
  try {
    checkUNetConfig(network);
  } catch (error) {
    throw new ConfigError((error as Error).message, node.place, { cause: error });
  }
  return network;
}

unetTargets.register(
  ['ldm.modules.diffusionmodules.openaimodel.UNetModel', 'emulsion.UNetModel'],
  { params: convert(config, checked), build: (network) => new UNetModel(network) },
);
