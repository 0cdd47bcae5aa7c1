// The original's first stages as targets: architecture, loss, and what its constructors take for training.
import {
  buildFirstStage,
  type AutoencoderConfig,
  type FirstStage,
  type FirstStageConfig,
  type FirstStageSpec,
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
  text,
  unsupported,
  type FieldsOf,
} from './fields.js';
import { losses, type LossInstance } from './losses.js';
import { schedules } from './schedules.js';
import { Targets, type Instance } from './targets.js';

/** Everything that a configuration says of a first stage. */
export interface FirstStageEntry {
  readonly spec: FirstStageSpec;
  /** `params` beside the architecture; an identity has none */
  readonly training?: FirstStageTraining;
}

/** What the original's constructors take beside the architecture. */
export interface FirstStageTraining {
  /** undefined for `torch.nn.Identity`: a first stage that is used, not trained */
  readonly lossconfig?: LossInstance;
  /** checkpoint to begin with */
  readonly ckptPath?: string;
  /** key prefixes that are not taken from it */
  readonly ignoreKeys?: readonly string[];
  readonly imageKey?: 'image';
  /** the validation number that decides which checkpoints are the best */
  readonly monitor?: string;
  /** smallest and largest side that batches are resized to, a multiple of 16 apart */
  readonly batchResizeRange?: readonly [number, number];
  readonly schedulerConfig?: ReturnType<typeof schedules.read>;
  /** the generator's learning rate over the discriminator's, default 1 */
  readonly lrGFactor?: number;
  /** keep a moving average of the weights, default false */
  readonly useEma?: boolean;
}

export type FirstStageInstance = Instance<FirstStageEntry, FirstStage, []>;

/** What may stand as `model` or `first_stage_config`. */
export const firstStages = new Targets<FirstStageEntry, FirstStage>('a first stage');

const count = integer({ min: 1 });

const ddconfig = mapping<FirstStageConfig>({
  ch: count,
  out_ch: count,
  ch_mult: optional(list(count)),
  num_res_blocks: count,
  attn_resolutions: optional(list(count)),
  dropout: optional(number({ min: 0, max: 1 })),
  resamp_with_conv: optional(boolean),
  in_channels: count,
  resolution: count,
  z_channels: count,
  double_z: optional(boolean),
  use_linear_attn: optional(boolean),
  attn_type: optional(oneOf('vanilla', 'linear', 'none')),
  give_pre_end: optional(boolean),
  tanh_out: optional(boolean),
  norm_groups: optional(count),
});

type KlParams = AutoencoderConfig &
  Omit<FirstStageTraining, 'batchResizeRange' | 'schedulerConfig' | 'lrGFactor' | 'useEma'> & {
    colorizeNlabels?: undefined;
  };

const klFields: FieldsOf<KlParams> = {
  ddconfig,
  embed_dim: count,
  lossconfig: optional(losses.field),
  ckpt_path: optional(text),
  ignore_keys: optional(list(text)),
  image_key: optional(oneOf('image')),
  monitor: optional(text),
  colorize_nlabels: unsupported('only pictures of 1 or 3 channels can be shown'),
};

type VqParams = KlParams &
  FirstStageTraining & { nEmbed: number; saneIndexShape?: boolean; remap?: undefined };

const vqFields: FieldsOf<VqParams> = {
  ...klFields,
  n_embed: count,
  sane_index_shape: optional(boolean),
  remap: unsupported('a subset of the codes has no use in a first stage'),
  batch_resize_range: optional(
    convert(list(integer({ min: 16 })), (sides, node): [number, number] => {
      const [low, high] = sides;
      if (sides.length !== 2 || low > high)
        throw new ConfigError('batch_resize_range must be [smallest, largest].', node.place);
      return [low, high];
    }),
  ),
  scheduler_config: optional(schedules.field),
  lr_g_factor: optional(number({ min: 0 })),
  use_ema: optional(boolean),
};

firstStages.register(['ldm.models.autoencoder.AutoencoderKL', 'emulsion.AutoencoderKL'], {
  params: convert(mapping<KlParams>(klFields), ({ ddconfig, embedDim, ...training }) => ({
    spec: { kind: 'kl' as const, ddconfig, embedDim },
    training,
  })),
  build,
});

for (const [kind, name] of [
  ['vq', 'VQModel'],
  ['vq-interface', 'VQModelInterface'],
] as const)
  firstStages.register([`ldm.models.autoencoder.${name}`, `emulsion.${name}`], {
    params: convert(
      mapping<VqParams>(vqFields),
      ({ ddconfig, embedDim, nEmbed, saneIndexShape, ...training }) => ({
        spec: { kind, ddconfig, embedDim, nEmbed, ...(saneIndexShape && { saneIndexShape }) },
        training,
      }),
    ),
    build,
  });

firstStages.register(['ldm.models.autoencoder.IdentityFirstStage', 'emulsion.IdentityFirstStage'], {
  params: convert(
    mapping<{ vqInterface?: boolean }>({ vq_interface: optional(boolean) }),
    (options) => ({ spec: { kind: 'identity' as const, ...options } }),
  ),
  build,
});

function build({ spec }: FirstStageEntry): FirstStage {
  return buildFirstStage(spec);
}
