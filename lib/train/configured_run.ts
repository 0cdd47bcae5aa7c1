// From a configuration to what a Trainer takes: what the stages have in common.
import type { TrainingConfig } from '../config/index.js';
import type { DataSource } from '../data/index.js';
import { check } from '../errors.js';
import type { TrainerOptions } from './options.js';
import type { TrainingTask } from './task.js';

/** All that a Trainer takes, but a folder and loggers. */
export interface ConfiguredRun<Batch> {
  readonly task: TrainingTask<Batch>;
  readonly data: DataSource<Batch>;
  readonly options: Omit<TrainerOptions<Batch>, 'folder' | 'loggers'>;
}

/** What a configuration says beside its model. */
export type RunConfig = Omit<TrainingConfig<unknown, unknown, []>, 'model'>;

/** The original's. */
export const defaultSeed = 23;

/** The base learning rate times the images in a step or, with `scale_lr: false`, as it is. */
export function learningRateOf({ baseLearningRate, data, trainer, run }: RunConfig): number {
  if (run.scaleLr === false) return baseLearningRate;
  return baseLearningRate * (trainer.accumulateGradBatches ?? 1) * (data?.spec.batchSize ?? 1);
}

/**
 * The trainer's options as a configuration gives them.
 * @throws ArgumentError when it does not say how long to train
 */
export function trainerOptionsOf<Batch>(
  config: RunConfig,
  data: DataSource<Batch>,
  validation: DataSource<Batch> | undefined,
): ConfiguredRun<Batch>['options'] {
  const { imageLogger, trainer, run } = config;
  return {
    steps: stepsOf(config, data.batchesPerEpoch),
    seed: run.seed ?? defaultSeed,
    accumulate: trainer.accumulateGradBatches,
    precision: run.dtype,
    clipNorm: trainer.gradientClipVal || null,
    logEvery: run.logEvery,
    saveEvery: run.saveEvery,
    validation,
    validateEvery: run.validateEvery,
    picturesEvery: imageLogger.disabled ? 0 : (imageLogger.batchFrequency ?? 750),
  };
}

function stepsOf({ trainer }: RunConfig, batchesPerEpoch: number): number {
  const { maxSteps, maxEpochs, accumulateGradBatches = 1 } = trainer;
  check(maxSteps ?? maxEpochs, () => {
    return 'the configuration does not say how long to train: give --steps, lightning.trainer.max_steps or max_epochs.';
  });
  const epochs = maxEpochs ?? Infinity;
  return Math.min(
    maxSteps ?? Infinity,
    Math.ceil((epochs * batchesPerEpoch) / accumulateGradBatches),
  );
}
