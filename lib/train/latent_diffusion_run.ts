// From a configuration to all that training a second stage takes.
import {
  diffusionModelTargets,
  readTraining,
  type ConfigNode,
  type DiffusionEntry,
  type ImageLoggerSection,
  type TrainingConfig,
} from '../config/index.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { Json } from '../io/index.js';
import {
  buildLatentDiffusion,
  loadFirstStage,
  loadLatentDiffusion,
  saveLatentDiffusion,
  type DiffusionBatch,
  type LatentDiffusion,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import { manualSeed } from '../random.js';
import { classNames } from './class_names.js';
import type { ConditionWordsOptions } from './condition_pictures.js';
import { latentDiffusionTask } from './latent_diffusion.js';
import type { TrainerOptions } from './options.js';
import { learningRateOf, runOf } from './run_config.js';
import type { TrainingTask } from './task.js';

/** What a configuration says of the training of a second stage. */
export type LatentDiffusionTrainingConfig = TrainingConfig<DiffusionEntry, LatentDiffusion, []>;

/** All that a Trainer takes for a second stage, but a folder and loggers. */
export interface LatentDiffusionRun {
  readonly model: LatentDiffusion;
  readonly task: TrainingTask<ImageBatch>;
  readonly data: DataLoader;
  readonly options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'>;
}

/** Reads a merged configuration of a second stage's training. @throws ConfigError */
export function readLatentDiffusionTraining(tree: ConfigNode): LatentDiffusionTrainingConfig {
  return readTraining(tree, diffusionModelTargets);
}

/**
 * Builds model and loaders of a configuration, and loads the weights that it names.
 *
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures or weights that
 * cannot be read
 */
export async function buildLatentDiffusionRun(
  config: LatentDiffusionTrainingConfig,
): Promise<LatentDiffusionRun> {
  const { spec, training } = config.model.spec;
  const conditioner = needsConditions(spec) ? spec.conditioner : undefined;
  const { monitor = 'val/loss' } = training;
  const { data, options } = await runOf(config, { conditioner, monitor });
  const words = wordsOf(spec, data);
  // Weights are drawn from the global generator.
  manualSeed(options.seed);
  const model = await startingModel(config.model.spec);
  return { model, task: taskOf<ImageBatch>(model, config, words), data, options };
}

/** Whether a model is conditioned on more than the classes that any data set may have. */
export function needsConditions({ conditioner, conditioningKey }: LatentDiffusionSpec): boolean {
  if (conditioningKey === 'adm') return false;
  return conditioner !== undefined && conditioner.kind !== 'none' && conditioner.kind !== 'class';
}

/** @internal The task as the configuration has it, on batches of any kind. */
export function taskOf<Batch>(
  model: LatentDiffusion,
  config: LatentDiffusionTrainingConfig,
  words: ConditionWordsOptions,
  read?: (batch: Batch) => DiffusionBatch,
): TrainingTask<Batch> {
  const { spec, training } = config.model.spec;
  const { imageLogger, run } = config;
  return latentDiffusionTask<Batch>({
    model: model.train(),
    learningRate: learningRateOf(config),
    schedule: training.schedulerConfig?.build(),
    ema: (run.ema ?? training.useEma ?? true) ? {} : null,
    unconditionalProbability: training.unconditionalProbability,
    offsetNoise: training.offsetNoise,
    patches: training.splitInputParams,
    read,
    pictures: {
      ...words,
      maxImages: imageLogger.maxImages,
      logEveryT: training.logEveryT,
      ...samplesOf(imageLogger),
    },
    config: JSON.parse(JSON.stringify({ model: spec, loss: lossOptions(training) })) as Json,
  });
}

// The original's default of eta, in pictures alone, is 1.
function samplesOf({ logImagesKwargs: given }: ImageLoggerSection) {
  if (!given) return {};
  const { ddimSteps: steps, ddimEta: eta = 1, inpaint, quantizeDenoised } = given;
  return { sampling: { eta, ...(steps !== undefined && { steps }) }, inpaint, quantizeDenoised };
}

/** @internal What the data set calls that which the model is conditioned on. */
export const wordsOf = (spec: LatentDiffusionSpec, data: DataLoader): ConditionWordsOptions => ({
  describe: (tokens) => data.condition?.describe?.(tokens) ?? [],
  classNames: classNames(spec, data),
});

/**
 * Saves the model for `loadLatentDiffusion`, beside its moving average if it has one, and what makes its
 * conditions, such as a tokenizer.
 */
export async function saveTrainedLatentDiffusion(
  folder: string,
  { model, task, data }: Pick<LatentDiffusionRun, 'model' | 'task' | 'data'>,
): Promise<void> {
  await saveLatentDiffusion(folder, model, { ema: task.ema?.ema });
  await data.condition?.save?.(folder);
}

// What changes the loss beside the model itself.
const lossOptions = ({
  unconditionalProbability = 0,
  offsetNoise = 0,
  splitInputParams: patches,
}: DiffusionEntry['training']) => ({
  unconditionalProbability,
  offsetNoise,
  ...(patches && { patches }),
});

async function startingModel({ spec, training }: DiffusionEntry): Promise<LatentDiffusion> {
  const { ckptPath, firstStageCkptPath, ignoreKeys = [], loadOnlyUnet } = training;
  const { firstStage } = spec;
  check(ckptPath ?? firstStageCkptPath ?? firstStage.kind === 'identity', () => {
    return (
      'the configuration names no weights of the first stage, without which latents mean nothing: give ' +
      'model.params.first_stage_config.params.ckpt_path.'
    );
  });
  // As in the original the whole model's weights come last, and need not be complete.
  let missing: readonly string[] = [];
  const model = ckptPath
    ? await loadLatentDiffusion(ckptPath, spec, {
        weights: 'raw',
        strict: false,
        takes: (key) =>
          !ignoreKeys.some((prefix) => key.startsWith(prefix)) &&
          (!loadOnlyUnet || key.startsWith('model.')),
        onReport: (report) => (missing = report.missing),
      })
    : buildLatentDiffusion(spec);
  check(missing.length < model.stateDict().size, () => {
    model.dispose();
    return `${ckptPath} holds none of the model's keys, such as ${missing[0]}: it is no checkpoint of a diffusion model.`;
  });
  if (firstStageCkptPath && (!ckptPath || loadOnlyUnet)) {
    const stage = await loadFirstStage(firstStageCkptPath, firstStage);
    model.first_stage_model.loadStateDict(stage.stateDict());
    stage.dispose();
  }
  return model;
}
