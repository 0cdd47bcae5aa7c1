// The section `lightning` of the original's configurations: what its trainer and callbacks were told.
import { ConfigError } from './error.js';
import {
  boolean,
  integer,
  limit,
  mapping,
  nullable,
  number,
  optional,
  text,
  unsupported,
  type Field,
} from './fields.js';
import { describe, isNull, nodeAt, type ConfigNode, type Scalar } from './node.js';

/** Of matrix work in training. */
export type TrainingDType = 'float32' | 'bfloat16' | 'float16';

/** Options of the original's trainer that mean something here. */
export interface TrainerSection {
  /** batches in an optimizer cycle, default 1 */
  accumulateGradBatches?: number;
  /** optimizer cycles to train for */
  maxSteps?: number;
  maxEpochs?: number;
  /** largest norm of the gradients; 0 leaves them as they are, as does leaving it out */
  gradientClipVal?: number;
  /** `emulsion.dtype` under the original's names; that one wins */
  precision?: TrainingDType;
  /** steps between two lines of numbers, where `emulsion.log_every` is not given */
  logEveryNSteps?: number;
  /** epochs between two validations, where `emulsion.validate_every` is not given */
  checkValEveryNEpoch?: number;
}

/** Which states are saved, and which stay: `lightning.modelcheckpoint`. */
export interface CheckpointSection {
  /** steps between two saved states, where `emulsion.save_every` is not given; 0: none on the way */
  everyNTrainSteps?: number;
  /** the same in epochs */
  everyNEpochs?: number;
  /** how many of the best states stay, default 3; -1: all that are saved */
  saveTopK?: number;
  /** the number of validations that tells which are the best; null: none does. Default: the model's */
  monitor?: string | null;
}

/** When pictures are written. */
export interface ImageLoggerSection {
  /** in steps, default 750 */
  batchFrequency?: number;
  /** pictures in a grid, default 4 */
  maxImages?: number;
  disabled?: boolean;
  /** how a diffusion model makes its samples */
  logImagesKwargs?: {
    ddimSteps?: number;
    ddimEta?: number;
    inpaint?: boolean;
    quantizeDenoised?: boolean;
  };
}

/** What is read of the section. */
export interface LightningSection {
  readonly trainer?: TrainerSection;
  readonly modelcheckpoint?: { params?: CheckpointSection };
  readonly callbacks?: { imageLogger?: { params?: ImageLoggerSection } };
}

// What would change a training there and has no counterpart here, by the mapping that it stands in: each key with
// the values that come to what happens anyway.
const ignored = {
  lightning: { logger: [] },
  'lightning.trainer': {
    fast_dev_run: [false],
    gradient_clip_algorithm: ['norm'],
    limit_train_batches: [],
    limit_val_batches: [],
    max_time: [],
    min_epochs: [],
    min_steps: [],
    overfit_batches: [0],
    resume_from_checkpoint: [],
    val_check_interval: [],
  },
  'lightning.modelcheckpoint.params': {
    dirpath: [],
    every_n_val_epochs: [],
    filename: [],
    period: [],
    save_last: [true],
    save_weights_only: [false],
    train_time_interval: [],
  },
  'lightning.callbacks': { checkpoint_callback: [], metrics_over_trainsteps_checkpoint: [] },
  'lightning.callbacks.image_logger.params': {
    clamp: [true],
    increase_log_steps: [false],
    log_all_val: [false],
    log_first_step: [false],
    log_on_batch_idx: [false],
    rescale: [true],
  },
  'lightning.callbacks.image_logger.params.log_images_kwargs': {
    N: [],
    n_row: [],
    plot_denoise_rows: [true],
    plot_diffusion_rows: [true],
    plot_progressive_rows: [true],
    return_keys: [],
    sample: [true],
    unconditional_guidance_label: [],
    unconditional_guidance_scale: [1],
    use_ema_scope: [true],
  },
} satisfies Record<string, Record<string, readonly Scalar[]>>;

const ignoredIn = (section: keyof typeof ignored): string[] => Object.keys(ignored[section]);

/** Paths of the settings in a whole configuration that are accepted and change nothing, although they mean to. */
export function ignoredSettings(tree: ConfigNode): string[] {
  return Object.entries(ignored).flatMap(([section, keys]) => {
    const changes = ([key, same]: [string, readonly Scalar[]]) => {
      const value = nodeAt(tree, [...section.split('.'), key]);
      return value && !isNull(value) && !(value.kind === 'scalar' && same.includes(value.value));
    };
    return Object.entries(keys)
      .filter(changes)
      .map(([key]) => `${section}.${key}`);
  });
}

const precisions: Readonly<Record<string, TrainingDType>> = {
  '32': 'float32',
  '32-true': 'float32',
  '16': 'float16',
  '16-mixed': 'float16',
  bf16: 'bfloat16',
  'bf16-mixed': 'bfloat16',
};

const precision: Field<TrainingDType> = {
  read(node, name) {
    const given = node.kind === 'scalar' ? String(node.value) : '';
    if (Object.hasOwn(precisions, given)) return precisions[given];
    throw new ConfigError(
      `${name} must be one of ${Object.keys(precisions).join(', ')}, got ${describe(node)}.`,
      node.place,
    );
  },
};

const trainer = mapping<TrainerSection>(
  {
    accumulate_grad_batches: optional(integer({ min: 1 })),
    max_steps: optional(limit),
    max_epochs: optional(limit),
    gradient_clip_val: optional(number({ min: 0 })),
    precision: optional(precision),
    log_every_n_steps: optional(integer({ min: 1 })),
    check_val_every_n_epoch: optional(integer({ min: 1 })),
  },
  // what concerns the original's machines and output
  [
    'accelerator',
    'amp_backend',
    'amp_level',
    'benchmark',
    'deterministic',
    'devices',
    'distributed_backend',
    'enable_progress_bar',
    'find_unused_parameters',
    'gpus',
    'num_nodes',
    'num_sanity_val_steps',
    'plugins',
    'profiler',
    'progress_bar_refresh_rate',
    'replace_sampler_ddp',
    'strategy',
    'sync_batchnorm',
    'weights_summary',
    ...ignoredIn('lightning.trainer'),
  ],
);

const lowest = unsupported('the best states are those in which the number was lowest, mode: min');

const modelcheckpoint = mapping<{ params?: CheckpointSection }>(
  {
    params: optional(
      mapping<CheckpointSection & { mode?: undefined }>(
        {
          every_n_train_steps: optional(integer({ min: 0 })),
          every_n_epochs: optional(integer({ min: 0 })),
          save_top_k: optional(integer({ min: -1 })),
          monitor: nullable(text),
          mode: {
            read: (node, name) =>
              text.read(node, name) === 'min' ? undefined : lowest.read(node, name),
            missing: { value: undefined },
          },
        },
        ['auto_insert_metric_name', 'verbose', ...ignoredIn('lightning.modelcheckpoint.params')],
      ),
    ),
  },
  ['target'],
);

const imageLogger = mapping<{ params?: ImageLoggerSection }>(
  {
    params: optional(
      mapping<ImageLoggerSection>(
        {
          batch_frequency: optional(integer({ min: 1 })),
          max_images: optional(integer({ min: 1 })),
          disabled: optional(boolean),
          log_images_kwargs: optional(
            mapping<NonNullable<ImageLoggerSection['logImagesKwargs']>>(
              {
                ddim_steps: optional(integer({ min: 1 })),
                ddim_eta: optional(number({ min: 0 })),
                inpaint: optional(boolean),
                quantize_denoised: optional(boolean),
              },
              ignoredIn('lightning.callbacks.image_logger.params.log_images_kwargs'),
            ),
          ),
        },
        ignoredIn('lightning.callbacks.image_logger.params'),
      ),
    ),
  },
  ['target'],
);

/** @internal The section as a field of a whole configuration. */
export const lightningField: Field<LightningSection> = mapping<LightningSection>(
  {
    trainer: optional(trainer),
    modelcheckpoint: optional(modelcheckpoint),
    callbacks: optional(
      mapping<NonNullable<LightningSection['callbacks']>>({ image_logger: optional(imageLogger) }, [
        'cuda_callback',
        'learning_rate_logger',
        'setup_callback',
        ...ignoredIn('lightning.callbacks'),
      ]),
    ),
  },
  ['find_unused_parameters', ...ignoredIn('lightning')],
);
