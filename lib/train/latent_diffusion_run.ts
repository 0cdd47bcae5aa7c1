// From a configuration to all that training a diffusion model takes.
import { join } from 'node:path';
import { stat } from 'node:fs/promises';
import { diffusionModelTargets, readTraining, type ConfigNode } from '../config/index.js';
import type { DiffusionEntry, DiffusionTrainingParams, TrainingConfig } from '../config/index.js';
import { ImageFolder, type DataLoader, type ImageBatch } from '../data/index.js';
import { tensor } from '../creation.js';
import { check, FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { openCheckpoint, openModel, writeFileAtomic, type StateReader } from '../io/index.js';
import {
  buildLatentDiffusion,
  loadFirstStage,
  saveLatentDiffusion,
  type DiffusionBatch,
  type LatentDiffusion,
} from '../ldm/index.js';
import { manualSeed } from '../random.js';
import {
  defaultSeed,
  learningRateOf,
  trainerOptionsOf,
  type ConfiguredRun,
} from './configured_run.js';
import { cacheLatents, LatentCache, type CachedBatch } from './latent_cache.js';
import { latentDiffusionTask } from './latent_diffusion.js';
import type { TrainingTask } from './task.js';

/** What a configuration says of the training of a diffusion model. */
export type LatentDiffusionTrainingConfig = TrainingConfig<DiffusionEntry, LatentDiffusion, []>;

/** The training of a diffusion model, built. */
export interface LatentDiffusionRun<Batch> extends ConfiguredRun<Batch> {
  readonly model: LatentDiffusion;
  /** Names of the classes by their ids, where folders tell them; else empty. */
  readonly classes: readonly string[];
}

/** Reads a merged configuration of a diffusion model's training. @throws ConfigError */
export function readLatentDiffusionTraining(tree: ConfigNode): LatentDiffusionTrainingConfig {
  return readTraining(tree, diffusionModelTargets);
}

/**
 * Builds model and loaders of a configuration.
 *
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures or weights that
 * cannot be read
 */
export async function buildLatentDiffusionRun(
  config: LatentDiffusionTrainingConfig,
): Promise<LatentDiffusionRun<ImageBatch> & { readonly data: DataLoader }> {
  const { spec, training } = config.model.spec;
  const { kind = 'none' } = spec.conditioner ?? {};
  check(kind === 'none' || kind === 'class', () => {
    return (
      `a model with a conditioner of kind ${kind} cannot be trained from a configuration: data sets here hold ` +
      'pictures and classes. Give latentDiffusionTask a `read` of your own.'
    );
  });
  const { seed = defaultSeed } = config.run;
  const { train: data, validation } = (await config.data?.build({ seed })) ?? {};
  check(data, () => 'the configuration has no data to train on: name it under data.params.train.');
  const classes = classesOf(data, config);
  // Weights are drawn from the global generator.
  manualSeed(seed);
  const model = buildLatentDiffusion(spec);
  await beginWith(model, training);
  const task = taskOf<ImageBatch>(model, config);
  return { model, classes, task, data, options: trainerOptionsOf(config, data, validation) };
}

// The names of the classes, once it is clear that the pictures have those that the model knows.
function classesOf(
  { dataset }: DataLoader,
  config: LatentDiffusionTrainingConfig,
): readonly string[] {
  const { conditioner } = config.model.spec.spec;
  if (conditioner?.kind !== 'class') return [];
  check(dataset.item(0).label !== undefined, () => {
    return (
      'the model is conditioned on classes, and the pictures have none: put them in a folder for each class and ' +
      "set `labels: folders` in the data set's params."
    );
  });
  if (!(dataset instanceof ImageFolder)) return [];
  const { nClasses = 1000, unconditionalClass } = conditioner;
  // Labels count from 0, and none may be the class that means "none".
  const free = unconditionalClass ?? nClasses;
  check(dataset.classes.length <= free, () => {
    return `the pictures lie in ${dataset.classes.length} class folders, and the model's embedder has ${free} for them (n_classes, unconditional_class).`;
  });
  return dataset.classes;
}

// Weights of the first stage alone, or of a whole model to go on from.
async function beginWith(model: LatentDiffusion, training: DiffusionTrainingParams): Promise<void> {
  const { firstStageCkptPath, ckptPath } = training;
  const { firstStage } = model.spec;
  check(firstStageCkptPath ?? ckptPath ?? firstStage.kind === 'identity', () => {
    return (
      'the first stage has no weights, and it is not trained here: give a checkpoint or a model folder as ' +
      'model.params.first_stage_config.params.ckpt_path.'
    );
  });
  if (firstStageCkptPath) {
    using stage = await loadFirstStage(firstStageCkptPath, firstStage);
    model.first_stage_model.loadStateDict(stage.stateDict());
  }
  if (ckptPath) await loadPart(model, ckptPath, training);
}

const network = 'model.';

// As in the original what does not fit by name stays as it is; a file in which nothing fits is a mistake.
async function loadPart(
  model: LatentDiffusion,
  path: string,
  { ignoreKeys = [], loadOnlyUnet = false }: DiffusionTrainingParams,
): Promise<void> {
  const reader = await openWeights(path);
  const own = model.stateDict();
  const keys = reader.keys.filter(
    (key) =>
      own.has(key) &&
      (!loadOnlyUnet || key.startsWith(network)) &&
      !ignoreKeys.some((ignored) => key.startsWith(ignored)),
  );
  if (!keys.some((key) => key.startsWith(network)))
    throw new FileError(`holds no weights of this model's network ('${network}*').`, path);
  const wanted = new Set(keys);
  await model.importState(
    { ...bound(reader), keys, has: (key) => wanted.has(key) },
    { strict: false },
  );
}

const bound = (reader: StateReader): Pick<StateReader, 'origin' | 'info' | 'get'> => ({
  origin: reader.origin,
  info: (key) => reader.info(key),
  get: (key) => reader.get(key),
});

async function openWeights(path: string): Promise<StateReader> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  return entry.isDirectory() ? (await openModel(path)).weights : openCheckpoint(path);
}

function taskOf<Batch>(
  model: LatentDiffusion,
  config: LatentDiffusionTrainingConfig,
  read?: (batch: Batch) => DiffusionBatch,
): TrainingTask<Batch> {
  const { training } = config.model.spec;
  const { imageLogger, run } = config;
  return latentDiffusionTask<Batch>({
    model,
    learningRate: learningRateOf(config),
    schedule: training.schedulerConfig?.build(),
    ema: (run.ema ?? training.useEma ?? true) ? {} : null,
    unconditionalProbability: training.unconditionalProbability,
    offsetNoise: training.offsetNoise,
    read,
    pictures: { maxImages: imageLogger.maxImages, logEveryT: training.logEveryT },
  });
}

/**
 * The same training on latents that are encoded once, into `folder`, or are there already. Pictures keep the
 * crops and flips of that one pass.
 *
 * @param options.onProgress told the number of pictures encoded so far
 */
export async function cacheRunLatents(
  { model, classes, data, options }: LatentDiffusionRun<ImageBatch>,
  config: LatentDiffusionTrainingConfig,
  folder: string,
  { onProgress, signal }: { onProgress?: (images: number) => void; signal?: AbortSignal } = {},
): Promise<LatentDiffusionRun<CachedBatch>> {
  const { seed } = options;
  const batchSize = config.data!.spec.batchSize;
  const cached = async (source: typeof data, name: string, dropLast: boolean) => {
    const path = join(folder, name);
    // An index is written when everything else is.
    const complete = await stat(join(path, 'index.json')).catch(() => null);
    if (!complete)
      await cacheLatents(model.first_stage_model, source, path, { onProgress, signal });
    return LatentCache.open(path, { batchSize, seed, dropLast });
  };
  const train = await cached(data, 'train', true);
  const validation = options.validation && (await cached(options.validation, 'validation', false));
  const task = taskOf<CachedBatch>(model, config, (batch) => ({
    encoded: train.encoded(batch),
    ...(model.conditioner.kind === 'class' && { condition: classIds(batch) }),
  }));
  return {
    model,
    classes,
    task,
    data: train,
    options: trainerOptionsOf<CachedBatch>(config, train, validation),
  };
}

function classIds({ label, moments }: CachedBatch) {
  check(label, () => {
    return 'the model is conditioned on classes, and the cached latents have none: remove them, and encode the pictures again.';
  });
  return tensor(BigInt64Array.from(label, BigInt), { device: moments.device });
}

/** The file beside a saved model with the names of its classes, a line each. */
export const classesFile = 'classes.txt';

/** Saves the model, beside its moving average if it has one, for `loadLatentDiffusion`. */
export async function saveTrainedLatentDiffusion<Batch>(
  folder: string,
  { model, task, classes }: Pick<LatentDiffusionRun<Batch>, 'model' | 'task' | 'classes'>,
): Promise<void> {
  await saveLatentDiffusion(folder, model, { ema: task.ema?.ema });
  if (classes.length > 0)
    await writeFileAtomic(join(folder, classesFile), classes.map((name) => `${name}\n`).join(''));
}
