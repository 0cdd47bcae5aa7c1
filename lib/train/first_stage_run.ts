// From a configuration to all that training a first stage takes.
import { stat } from 'node:fs/promises';
import {
  firstStageTargets,
  readTraining,
  type ConfigNode,
  type FirstStageEntry,
  type FirstStageLoss,
  type TrainingConfig,
} from '../config/index.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import { openCheckpoint, withPrefix, type Json } from '../io/index.js';
import {
  buildFirstStage,
  loadFirstStage,
  saveFirstStage,
  type FirstStage,
  type LPIPSWithDiscriminator,
  type VQLPIPSWithDiscriminator,
} from '../ldm/index.js';
import { manualSeed } from '../random.js';
import { firstStageTask } from './first_stage.js';
import type { TrainerOptions } from './options.js';
import type { TrainingTask } from './task.js';

/** What a configuration says of the training of a first stage. */
export type FirstStageTrainingConfig = TrainingConfig<FirstStageEntry, FirstStage, []>;

/** All that a Trainer takes for a first stage, but a folder and loggers. */
export interface FirstStageRun {
  readonly model: FirstStage;
  readonly loss: LPIPSWithDiscriminator | VQLPIPSWithDiscriminator;
  readonly task: TrainingTask<ImageBatch>;
  readonly data: DataLoader;
  readonly options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'>;
}

/** The original's. */
const defaultSeed = 23;

/** Reads a merged configuration of a first stage's training. @throws ConfigError */
export function readFirstStageTraining(tree: ConfigNode): FirstStageTrainingConfig {
  return readTraining(tree, firstStageTargets);
}

/** The base learning rate times the images in a step or, with `scale_lr: false`, as it is. */
export function learningRateOf(config: FirstStageTrainingConfig): number {
  const { baseLearningRate, data, trainer, run } = config;
  if (run.scaleLr === false) return baseLearningRate;
  return baseLearningRate * (trainer.accumulateGradBatches ?? 1) * (data?.spec.batchSize ?? 1);
}

/**
 * Builds model, loss and loaders of a configuration.
 *
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures or weights that
 * cannot be read
 */
export async function buildFirstStageRun(config: FirstStageTrainingConfig): Promise<FirstStageRun> {
  const { spec, training } = config.model.spec;
  const { seed = defaultSeed } = config.run;
  const { train: data, validation } = (await config.data?.build({ seed })) ?? {};
  check(data, () => 'the configuration has no data to train on: name it under data.params.train.');
  // Weights are drawn from the global generator.
  manualSeed(seed);
  const model = training.ckptPath
    ? await loadFirstStage(training.ckptPath, spec)
    : buildFirstStage(spec);
  const loss = await lossOf(training, 'nEmbed' in spec ? spec.nEmbed : undefined);
  check(loss, () => 'the configuration has no loss to train with: name it as lossconfig.');

  const { imageLogger, trainer, run } = config;
  const task = firstStageTask({
    model,
    loss,
    learningRate: learningRateOf(config),
    lrGFactor: training.lrGFactor,
    schedule: training.schedulerConfig?.build(),
    ema: (run.ema ?? training.useEma) ? {} : undefined,
    batchResizeRange: training.batchResizeRange,
    maxImages: imageLogger.maxImages,
    config: { model: spec, loss: loss.config } as unknown as Json,
  });
  return {
    model,
    loss,
    task,
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

// A checkpoint has the loss's networks beside the model's; a saved folder has the model alone.
async function lossOf(
  { lossconfig, ckptPath }: FirstStageEntry['training'],
  codes: number | undefined,
): Promise<FirstStageLoss | undefined> {
  const isFile = ckptPath !== undefined && (await stat(ckptPath)).isFile();
  if (!isFile) return lossconfig?.build({ codes });
  const checkpoint = await openCheckpoint(ckptPath);
  try {
    return await lossconfig?.build({ codes, weights: withPrefix(checkpoint, 'loss.') });
  } finally {
    await checkpoint.close();
  }
}

function stepsOf({ trainer }: FirstStageTrainingConfig, data: DataLoader): number {
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

/** Saves the model, beside its moving average if it has one, for `loadFirstStage`. */
export async function saveTrainedFirstStage(
  folder: string,
  { model, task }: Pick<FirstStageRun, 'model' | 'task'>,
): Promise<void> {
  if (!task.ema) return saveFirstStage(folder, model);
  // A second model holds the average: both are written from what is in memory.
  const averaged = buildFirstStage(model.spec);
  try {
    task.ema.ema.scope(() => averaged.loadStateDict(model.stateDict()));
    await saveFirstStage(folder, model, { ema: averaged.exportState() });
  } finally {
    averaged.dispose();
  }
}
