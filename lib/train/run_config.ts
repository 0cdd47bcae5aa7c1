// What every stage's training takes of a configuration: data, rates, and how the trainer runs.
import type { DataOptions, TrainingConfig } from '../config/index.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { TrainerOptions } from './options.js';

/** A configuration without its model. */
export type RunConfig = Omit<TrainingConfig<unknown, unknown, []>, 'model'>;

/** The original's. */
const defaultSeed = 23;

/** The base learning rate times the images in a step or, with `scale_lr: false`, as it is. */
export function learningRateOf(config: RunConfig): number {
  const { baseLearningRate, data, trainer, run } = config;
  if (run.scaleLr === false) return baseLearningRate;
  return baseLearningRate * (trainer.accumulateGradBatches ?? 1) * (data?.spec.batchSize ?? 1);
}

/**
 * Lists the pictures and makes the options of the trainer.
 *
 * @param options.conditioner of a model that needs to know more of pictures than their class
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures that cannot be read
 */
export async function runOf(
  config: RunConfig,
  { conditioner }: Pick<DataOptions, 'conditioner'> = {},
): Promise<{
  data: DataLoader;
  options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'> & { seed: number };
}> {
  const { imageLogger, trainer, run } = config;
  const { seed = defaultSeed } = run;
  const { train: data, validation } = (await config.data?.build({ seed, conditioner })) ?? {};
  check(data, () => 'the configuration has no data to train on: name it under data.params.train.');
  return {
    data,
    options: {
      steps: stepsOf(config, data),
      seed,
      accumulate: trainer.accumulateGradBatches,
      precision: run.dtype,
      clipNorm: trainer.gradientClipVal || null,
      logEvery: run.logEvery,
      saveEvery: run.saveEvery,
      validation,
      validateEvery: run.validateEvery,
      picturesEvery: imageLogger.disabled ? 0 : (imageLogger.batchFrequency ?? 750),
    },
  };
}

function stepsOf({ trainer }: RunConfig, data: DataLoader): number {
  const { maxSteps, maxEpochs, accumulateGradBatches = 1 } = trainer;
  check(maxSteps ?? maxEpochs, () => {
    return 'the configuration does not say how long to train: give --steps, lightning.trainer.max_steps or max_epochs.';
  });
  const epochs = maxEpochs ?? Infinity;
  return Math.min(
    maxSteps ?? Infinity,
    Math.ceil((epochs * data.batchesPerEpoch) / accumulateGradBatches),
  );
}
