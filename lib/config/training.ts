// A whole configuration of a training in the original's form: `model`, `data` and `lightning`.
import { dataModuleTargets, type DataInstance } from './data.js';
import { boolean, integer, limit, mapping, number, oneOf, optional, subtree } from './fields.js';
import { ConfigError } from './error.js';
import { nodeAt, type ConfigNode } from './node.js';
import { targetFields, type Instance, type TargetEntry, type Targets } from './targets.js';

/** What a configuration says of a training. */
export interface TrainingConfig<Spec, Built, Context extends unknown[]> {
  readonly model: Instance<Spec, Built, Context>;
  /** `model.base_learning_rate` */
  readonly baseLearningRate: number;
  readonly data?: DataInstance;
  /** `lightning.trainer` */
  readonly trainer: TrainerSection;
  /** `lightning.callbacks.image_logger` */
  readonly imageLogger: ImageLoggerSection;
  /** `emulsion` */
  readonly run: RunSection;
}

/** What the original takes on its command line, and what it has no name for: our own top-level key. */
export interface RunSection {
  /** of everything random; default 23 */
  seed?: number;
  /** multiply the base learning rate with the images in a step; default true */
  scaleLr?: boolean;
  /** of matrix work; default float32 */
  dtype?: 'float32' | 'bfloat16' | 'float16';
  /** steps between two lines of numbers, default 10 */
  logEvery?: number;
  /** steps between two saved states, default 1000 */
  saveEvery?: number;
  /** steps between two validations, default 1000; 0: none */
  validateEvery?: number;
  /** keep a moving average of the weights; default as `use_ema` says */
  ema?: boolean;
  /** encode the pictures of a diffusion model's training once instead of in every step; default false */
  cacheLatents?: boolean;
}

/** Options of the original's trainer that mean something here. */
export interface TrainerSection {
  /** batches in an optimizer cycle, default 1 */
  accumulateGradBatches?: number;
  /** optimizer cycles to train for */
  maxSteps?: number;
  maxEpochs?: number;
  /** largest norm of the gradients; 0 leaves them as they are, as does leaving it out */
  gradientClipVal?: number;
}

/** When pictures are written. */
export interface ImageLoggerSection {
  /** in steps, default 750 */
  batchFrequency?: number;
  /** pictures in a grid, default 4 */
  maxImages?: number;
  disabled?: boolean;
}

const trainer = mapping<TrainerSection>(
  {
    accumulate_grad_batches: optional(integer({ min: 1 })),
    max_steps: optional(limit),
    max_epochs: optional(limit),
    gradient_clip_val: optional(number({ min: 0 })),
  },
  // what concerns the original's machines and output
  [
    'accelerator',
    'benchmark',
    'check_val_every_n_epoch',
    'deterministic',
    'distributed_backend',
    'find_unused_parameters',
    'gpus',
    'log_every_n_steps',
    'num_nodes',
    'num_sanity_val_steps',
    'plugins',
    'precision',
    'progress_bar_refresh_rate',
    'replace_sampler_ddp',
    'strategy',
  ],
);

const imageLogger = mapping<{ params?: ImageLoggerSection }>(
  {
    params: optional(
      mapping<ImageLoggerSection>(
        {
          batch_frequency: optional(integer({ min: 1 })),
          max_images: optional(integer({ min: 1 })),
          disabled: optional(boolean),
        },
        [
          'clamp',
          'increase_log_steps',
          'log_first_step',
          'log_images_kwargs',
          'log_on_batch_idx',
          'rescale',
        ],
      ),
    ),
  },
  ['target'],
);

interface Lightning {
  trainer?: TrainerSection;
  callbacks?: { imageLogger?: { params?: ImageLoggerSection } };
}

const lightning = mapping<Lightning>(
  {
    trainer: optional(trainer),
    callbacks: optional(
      mapping<NonNullable<Lightning['callbacks']>>({ image_logger: optional(imageLogger) }, [
        'checkpoint_callback',
        'cuda_callback',
        'learning_rate_logger',
        'metrics_over_trainsteps_checkpoint',
        'setup_callback',
      ]),
    ),
  },
  ['find_unused_parameters', 'logger', 'modelcheckpoint'],
);

const model = mapping<TargetEntry & { baseLearningRate: number }>({
  ...targetFields,
  base_learning_rate: number({ min: 0 }),
});

const count = integer({ min: 0 });

const run = mapping<RunSection>({
  seed: optional(count),
  scale_lr: optional(boolean),
  dtype: optional(oneOf('float32', 'bfloat16', 'float16')),
  log_every: optional(count),
  save_every: optional(count),
  validate_every: optional(count),
  ema: optional(boolean),
  cache_latents: optional(boolean),
});

const modelAlone = mapping<TargetEntry>(targetFields, ['base_learning_rate']);

/**
 * Reads what a configuration says of its model, whatever else is in it: for models that are used and not
 * trained.
 *
 * @throws ConfigError with file, line and column of the first thing that is wrong
 */
export function readModel<Spec, Built, Context extends unknown[]>(
  tree: ConfigNode,
  models: Targets<Spec, Built, Context>,
): Instance<Spec, Built, Context> {
  const node = nodeAt(tree, ['model']);
  if (!node) throw new ConfigError("the configuration needs the key 'model'.", tree.place);
  return models.find(node, modelAlone.read(node, 'model'));
}

interface Project {
  model: ConfigNode;
  data?: DataInstance;
  lightning?: Lightning;
  emulsion?: RunSection;
}

const project = mapping<Project>({
  model: subtree,
  data: optional(dataModuleTargets.field),
  lightning: optional(lightning),
  emulsion: optional(run),
});

/**
 * Reads a merged configuration.
 *
 * @param models the targets that may stand as `model`
 * @throws ConfigError with file, line and column of the first thing that is wrong
 */
export function readTraining<Spec, Built, Context extends unknown[]>(
  tree: ConfigNode,
  models: Targets<Spec, Built, Context>,
): TrainingConfig<Spec, Built, Context> {
  const {
    model: node,
    data,
    lightning = {},
    emulsion = {},
  } = project.read(tree, 'the configuration');
  const { baseLearningRate, ...entry } = model.read(node, 'model');
  return {
    model: models.find(node, entry),
    baseLearningRate,
    data,
    trainer: lightning.trainer ?? {},
    imageLogger: lightning.callbacks?.imageLogger?.params ?? {},
    run: emulsion,
  };
}
