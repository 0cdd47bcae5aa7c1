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
import { learningRateOf, runOf } from './run_config.js';
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

/** Reads a merged configuration of a first stage's training. @throws ConfigError */
export function readFirstStageTraining(tree: ConfigNode): FirstStageTrainingConfig {
  return readTraining(tree, firstStageTargets);
}

/**
 * Builds model, loss and loaders of a configuration.
 *
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures or weights that
 * cannot be read
 */
export async function buildFirstStageRun(config: FirstStageTrainingConfig): Promise<FirstStageRun> {
  const { spec, training } = config.model.spec;
  checkLeftOut(training.ignoreKeys);
  const { data, options } = await runOf(config, { monitor: training.monitor });
  // Weights are drawn from the global generator.
  manualSeed(options.seed);
  const model = training.ckptPath
    ? await loadFirstStage(training.ckptPath, spec)
    : buildFirstStage(spec);
  const loss = await lossOf(training, 'nEmbed' in spec ? spec.nEmbed : undefined);
  check(loss, () => 'the configuration has no loss to train with: name it as lossconfig.');

  const { imageLogger, run } = config;
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
  return { model, loss, task, data, options };
}

// Averages of the weights are never read.
function checkLeftOut(prefixes: readonly string[] = []): void {
  const odd = prefixes.find(
    (prefix) => !lossPrefix.startsWith(prefix) && !prefix.startsWith('model_ema'),
  );
  check(odd === undefined, () => {
    return (
      `ignore_keys names ${odd}: only the loss's networks can be left out, as loss, to begin with new ones. The model's own ` +
      'weights are taken whole; without ckpt_path they are new.'
    );
  });
}

const lossPrefix = 'loss.';

// A checkpoint has the loss's networks beside the model's; a saved folder has the model alone.
async function lossOf(
  { lossconfig, ckptPath, ignoreKeys = [] }: FirstStageEntry['training'],
  codes: number | undefined,
): Promise<FirstStageLoss | undefined> {
  const isFile = ckptPath !== undefined && (await stat(ckptPath)).isFile();
  const isLeftOut = ignoreKeys.some((prefix) => lossPrefix.startsWith(prefix));
  if (!isFile || isLeftOut) return lossconfig?.build({ codes });
  const checkpoint = await openCheckpoint(ckptPath);
  try {
    return await lossconfig?.build({ codes, weights: withPrefix(checkpoint, lossPrefix) });
  } finally {
    await checkpoint.close();
  }
}

/** Saves the model, beside its moving average if it has one, for `loadFirstStage`. */
export async function saveTrainedFirstStage(
  folder: string,
  { model, task }: Pick<FirstStageRun, 'model' | 'task'>,
): Promise<void> {
  const average = task.ema?.ema;
  const ema = average && model.exportState((x) => average.averageOf(x) ?? x);
  await saveFirstStage(folder, model, { ema });
}
