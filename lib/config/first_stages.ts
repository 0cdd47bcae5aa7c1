// The original's first stages as targets: architecture, loss, and what its constructors take for training.
import {
  buildFirstStage,
  checkFirstStageSpec,
  type AutoencoderConfig,
  type CodebookEmaOptions,
  type FirstStage,
  type FirstStageConfig,
  type FirstStageSpec,
  type RestartOptions,
  type VqConfig,
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
  type Field,
  type FieldsOf,
} from './fields.js';
import { lossTargets, type LossInstance } from './losses.js';
import type { ConfigNode } from './node.js';
import { scheduleTargets, type ScheduleInstance } from './schedules.js';
import { Targets, type Instance } from './targets.js';

/** Everything that a configuration says of a first stage. */
export interface FirstStageEntry {
  readonly spec: FirstStageSpec;
  readonly training: TrainingParams;
}

/** What the original's constructor of the KL model takes beside the architecture. */
interface KlTraining {
  /** undefined for a first stage that is used, not trained; `torch.nn.Identity` means the same */
  readonly lossconfig?: LossInstance;
  /** weights to begin with */
  readonly ckptPath?: string;
  /** what keys of these weights begin with that are left out: those of the loss's networks */
  readonly ignoreKeys?: readonly string[];
  /** accepted: batches hold their images under one name */
  readonly imageKey?: string;
  /** accepted: the trainer keeps the newest states, not those with the best of a number */
  readonly monitor?: string;
}

/** What all constructors of first stages take beside the architecture. */
export interface TrainingParams extends KlTraining {
  /** sides that batches are resized to: smallest, smallest + 16, ..., largest */
  readonly batchResizeRange?: readonly [number, number];
  readonly schedulerConfig?: ScheduleInstance;
  /** the autoencoder's learning rate over the discriminator's, default 1 */
  readonly lrGFactor?: number;
  /** keep a moving average of the weights, default false */
  readonly useEma?: boolean;
}

export type FirstStageInstance = Instance<FirstStageEntry, FirstStage, []>;

/** What may stand as `model` or `first_stage_config`. */
export const firstStageTargets = new Targets<FirstStageEntry, FirstStage>('a first stage');

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
  use_checkpoint: optional(boolean),
});

const klFields: FieldsOf<AutoencoderConfig> = {
  ddconfig,
  embed_dim: count,
  colorize_nlabels: optional(count),
};

const vqFields: FieldsOf<VqConfig> = {
  ...klFields,
  n_embed: count,
  beta: optional(number({ min: 0 })),
  legacy: optional(boolean),
  sane_index_shape: optional(boolean),
  remap: unsupported('it concerns models of code indices, not the first stage'),
  unknown_index: unsupported('it belongs to remap'),
  codebook_ema: optional(
    mapping<CodebookEmaOptions>({ decay: optional(number()), eps: optional(number()) }),
  ),
  restart_dead_codes: optional(
    mapping<RestartOptions>({ every: count, min_uses: optional(number({ min: 0 })) }),
  ),
};

const klTraining: FieldsOf<KlTraining> = {
  lossconfig: optional(lossTargets.field),
  ckpt_path: optional(text),
  ignore_keys: optional(list(text)),
  image_key: optional(text),
  monitor: optional(text),
};

const vqTraining: FieldsOf<TrainingParams> = {
  ...klTraining,
  batch_resize_range: optional(convert(list(integer({ min: 16 })), toRange)),
  scheduler_config: optional(scheduleTargets.field),
  lr_g_factor: optional(number({ min: 0 })),
  use_ema: optional(boolean),
};

function toRange(sides: readonly number[], { place }: ConfigNode): [number, number] {
  const [low, high] = sides;
  if (sides.length !== 2 || low > high)
    throw new ConfigError('batch_resize_range must be [smallest, largest].', place);
  return [low, high];
}

// The original gives architecture and training side by side.
function params<C extends object, T extends KlTraining>(
  architecture: FieldsOf<C>,
  training: FieldsOf<T>,
  toSpec: (config: C) => FirstStageSpec,
): Field<FirstStageEntry> {
  const config = mapping<C>(architecture, Object.keys(training));
  const beside = mapping<T>(training, Object.keys(architecture));
  return {
    read(node, name) {
      const spec = toSpec(config.read(node, name));
      try {
        checkFirstStageSpec(spec);
      } catch (error) {
        // What the model itself refuses is told with its place as well.
        throw new ConfigError((error as Error).message, node.place, { cause: error });
      }
      return { spec, training: beside.read(node, name) };
    },
  };
}

const build = ({ spec }: FirstStageEntry): FirstStage => buildFirstStage(spec);

firstStageTargets.register(['ldm.models.autoencoder.AutoencoderKL', 'emulsion.AutoencoderKL'], {
  params: params(klFields, klTraining, (config) => ({ kind: 'kl', ...config })),
  build,
});
firstStageTargets.register(['ldm.models.autoencoder.VQModel', 'emulsion.VQModel'], {
  params: params(vqFields, vqTraining, (config) => ({ kind: 'vq', ...config })),
  build,
});
firstStageTargets.register(
  ['ldm.models.autoencoder.VQModelInterface', 'emulsion.VQModelInterface'],
  {
    params: params(vqFields, vqTraining, (config) => ({ kind: 'vq-interface', ...config })),
    build,
  },
);
firstStageTargets.register(
  ['ldm.models.autoencoder.IdentityFirstStage', 'emulsion.IdentityFirstStage'],
  {
    params: convert(
      mapping<{ vqInterface?: boolean }>({ vq_interface: optional(boolean) }),
      (options): FirstStageEntry => ({ spec: { kind: 'identity', ...options }, training: {} }),
    ),
    build,
  },
);
