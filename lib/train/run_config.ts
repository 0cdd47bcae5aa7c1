// What every stage's training takes of a configuration: data, rates, and how the trainer runs.
import type { DataOptions, TrainingConfig } from '../config/index.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import { defaults, type TrainerOptions } from './options.js';

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
 * @param options.monitor the model's own word on what tells the best states; null: nothing does
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures that cannot be read
 */
export async function runOf(
  config: RunConfig,
  { conditioner, monitor }: Pick<DataOptions, 'conditioner'> & { monitor?: string | null } = {},
): Promise<{
  data: DataLoader;
  options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'> & {
    seed: number;
    validation?: DataLoader;
  };
}> {
  const { imageLogger, trainer, run } = config;
  const { seed = defaultSeed } = run;
  const { train: data, validation } = (await config.data?.build({ seed, conditioner })) ?? {};
  check(data, () => 'the configuration has no data to train on: name it under data.params.train.');
  const { checkValEveryNEpoch: epochs } = trainer;
  return {
    data,
    options: {
      steps: stepsOf(config, data),
      seed,
      accumulate: trainer.accumulateGradBatches,
      precision: run.dtype,
      clipNorm: trainer.gradientClipVal || null,
      capture: run.capture,
      logEvery: run.logEvery ?? trainer.logEveryNSteps,
      ...savingOf(config, data, monitor),
      validation,
      validateEvery: run.validateEvery ?? (epochs && stepsOfEpochs(epochs, config, data)),
      picturesEvery: imageLogger.disabled ? 0 : (imageLogger.batchFrequency ?? 750),
    },
  };
}

// When states are saved, and which of them stay.
function savingOf(config: RunConfig, data: DataLoader, models: string | null | undefined) {
  const { everyNTrainSteps, everyNEpochs: epochs, saveTopK: best } = config.checkpoints;
  const { monitor = models } = config.checkpoints;
  const saveEvery =
    config.run.saveEvery ?? everyNTrainSteps ?? (epochs && stepsOfEpochs(epochs, config, data));
  return {
    saveEvery,
    keepEvery: best === -1 ? (saveEvery ?? defaults.saveEvery) : undefined,
    keepBest: best && best > 0 ? best : undefined,
    monitor: best === 0 ? undefined : (monitor ?? undefined),
  };
}

function stepsOf(config: RunConfig, data: DataLoader): number {
  const { maxSteps = Infinity, maxEpochs = Infinity } = config.trainer;
  const steps = Math.min(maxSteps, stepsOfEpochs(maxEpochs, config, data));
  check(steps < Infinity, () => {
    return 'the configuration does not say how long to train: give --steps, lightning.trainer.max_steps or max_epochs.';
  });
  return steps;
}

function stepsOfEpochs(epochs: number, { trainer }: RunConfig, data: DataLoader): number {
  return Math.ceil((epochs * data.batchesPerEpoch) / (trainer.accumulateGradBatches ?? 1));
}
