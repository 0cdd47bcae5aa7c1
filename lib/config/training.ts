// A whole configuration of a training in the original's form: `model`, `data` and `lightning`.
import { dataModules, type DataInstance } from './data.js';
import { boolean, integer, mapping, number, optional, subtree } from './fields.js';
import type { ConfigNode } from './node.js';
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
  /** a validation after so many epochs, default 1 */
  checkValEveryNEpoch?: number;
}

/** When pictures are written. */
export interface ImageLoggerSection {
  /** in batches, default 750 */
  batchFrequency?: number;
  /** pictures in a grid, default 4 */
  maxImages?: number;
  /** also at 1, 2, 4, 8, ... batches, default true */
  increaseLogSteps?: boolean;
  disabled?: boolean;
}

const trainer = mapping<TrainerSection>(
  {
    accumulate_grad_batches: optional(integer({ min: 1 })),
    max_steps: optional(integer({ min: 1 })),
    max_epochs: optional(integer({ min: 1 })),
    gradient_clip_val: optional(number({ min: 0 })),
    check_val_every_n_epoch: optional(integer({ min: 1 })),
  },
  // what concerns the original's machines and output
  [
    'accelerator',
    'benchmark',
    'deterministic',
    'distributed_backend',
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
          increase_log_steps: optional(boolean),
          disabled: optional(boolean),
        },
        ['clamp', 'log_first_step', 'log_images_kwargs', 'log_on_batch_idx', 'rescale'],
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
  ['logger', 'modelcheckpoint'],
);

const model = mapping<TargetEntry & { baseLearningRate: number }>({
  ...targetFields,
  base_learning_rate: number({ min: 0 }),
});

const project = mapping<{ model: ConfigNode; data?: DataInstance; lightning?: Lightning }>({
  model: subtree,
  data: optional(dataModules.field),
  lightning: optional(lightning),
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
  const { model: node, data, lightning = {} } = project.read(tree, 'the configuration');
  const { baseLearningRate, ...entry } = model.read(node, 'model');
  return {
    model: models.find(node, entry),
    baseLearningRate,
    data,
    trainer: lightning.trainer ?? {},
    imageLogger: lightning.callbacks?.imageLogger?.params ?? {},
  };
}
