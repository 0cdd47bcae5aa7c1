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
  averageUpdates,
  buildLatentDiffusion,
  loadFirstStage,
  loadLatentDiffusion,
  saveLatentDiffusion,
  type DiffusionBatch,
  type LatentDiffusion,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import type { AverageStart } from '../optim/index.js';
import { manualSeed } from '../random.js';
import { keep } from '../scope.js';
import { checkCategories, checkClassesOf, classNames } from './class_names.js';
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
  /** whether the model's scale came with its weights */
  readonly hasScale: boolean;
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
  checkClassesOf(spec, [data, options.validation]);
  checkCategories(data, options.validation);
  const words = wordsOf(spec, data);
  // Weights are drawn from the global generator.
  manualSeed(options.seed);
  const { model, hasScale } = await startingModel(config.model.spec);
  const average = averages(config) ? await startingAverage(config.model.spec) : undefined;
  const task = taskOf<ImageBatch>({ model, hasScale, average }, config, words);
  average?.averages.forEach((tensor) => tensor.dispose());
  return { model, hasScale, task, data, options };
}

// Whether a moving average is kept.
const averages = ({ run, model }: LatentDiffusionTrainingConfig): boolean =>
  run.ema ?? model.spec.training.useEma ?? true;

/** Whether a model is conditioned on more than the classes that any data set may have. */
export function needsConditions({ conditioner, conditioningKey }: LatentDiffusionSpec): boolean {
  if (conditioningKey === 'adm') return false;
  return conditioner !== undefined && conditioner.kind !== 'none' && conditioner.kind !== 'class';
}

/** @internal A model to train, and what came with its weights. */
export interface Start extends Pick<LatentDiffusionRun, 'model' | 'hasScale'> {
  /** a moving average to go on from */
  readonly average?: AverageStart;
}

/** @internal The task as the configuration has it, on batches of any kind. */
export function taskOf<Batch>(
  { model, hasScale, average: from }: Start,
  config: LatentDiffusionTrainingConfig,
  words: ConditionWordsOptions,
  read?: (batch: Batch) => DiffusionBatch,
): TrainingTask<Batch> {
  const { spec, training } = config.model.spec;
  const { imageLogger } = config;
  return latentDiffusionTask<Batch>({
    model: model.train(),
    learningRate: learningRateOf(config),
    schedule: training.schedulerConfig?.build(),
    ema: averages(config) ? { from } : null,
    measureScale: !hasScale,
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

// As in the original the whole model's weights come last, over those of the first stage, and need not be complete.
async function startingModel({
  spec,
  training,
}: DiffusionEntry): Promise<Pick<LatentDiffusionRun, 'model' | 'hasScale'>> {
  const { ckptPath, firstStageCkptPath } = training;
  const { firstStage } = spec;
  let missing: readonly string[] = [];
  const model = ckptPath
    ? await loadLatentDiffusion(ckptPath, spec, {
        weights: 'raw',
        strict: false,
        takes: (key) => isTaken(key, training),
        onReport: (report) => (missing = report.missing),
      })
    : buildLatentDiffusion(spec);
  try {
    const whole = model.stateDict();
    check(missing.length < whole.size, () => {
      return `${ckptPath} holds none of the model's keys, such as ${missing[0]}: it is no checkpoint of a diffusion model.`;
    });
    const hasScale = ckptPath !== undefined && !missing.includes('scale_factor');
    const stageKeys = [...model.first_stage_model.stateDict().keys()];
    const lost = ckptPath
      ? stageKeys.filter((key) => missing.includes(firstStagePrefix + key))
      : stageKeys;
    if (firstStageCkptPath && lost.length > 0) {
      const stage = await loadFirstStage(firstStageCkptPath, firstStage);
      const given = stage.stateDict();
      const wanted = new Map(lost.map((key) => [key, given.get(key)!]));
      model.first_stage_model.loadStateDict(wanted, { strict: false });
      stage.dispose();
    } else
      check(lost.length < stageKeys.length || stageKeys.length === 0, () => {
        return (
          'the configuration names no weights of the first stage, without which latents mean nothing: give ' +
          'model.params.first_stage_config.params.ckpt_path' +
          (ckptPath ? `; ${ckptPath} holds none, or they are left out.` : '.')
        );
      });
    return { model, hasScale };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

const firstStagePrefix = 'first_stage_model.';

const isTaken = (
  key: string,
  { ignoreKeys = [], loadOnlyUnet }: DiffusionEntry['training'],
): boolean =>
  !ignoreKeys.some((prefix) => key.startsWith(prefix)) &&
  (!loadOnlyUnet || key.startsWith('model.'));

// The average that came with the weights, which the original goes on with. Its tensors are the caller's.
async function startingAverage({
  spec,
  training,
}: DiffusionEntry): Promise<AverageStart | undefined> {
  const { ckptPath, loadOnlyUnet, ignoreKeys = [] } = training;
  if (!ckptPath || loadOnlyUnet) return undefined;
  if (ignoreKeys.some((prefix) => 'model_ema.'.startsWith(prefix))) return undefined;
  const numUpdates = await averageUpdates(ckptPath);
  if (numUpdates === null) return undefined;
  const averaged = await loadLatentDiffusion(ckptPath, spec, {
    weights: 'ema',
    strict: false,
    takes: (key) => isTaken(key, training),
  });
  const averages = new Map(
    [...averaged.model.namedParameters()].map(([name, x]) => [name, keep(x.detach())]),
  );
  averaged.dispose();
  return { averages, numUpdates };
}
