// What `emulsion train` trains: first stages, diffusion models and classifiers of their latents, as one kind of thing.
import { join } from 'node:path';
import {
  ConfigError,
  diffusionModelTargets,
  firstStageTargets,
  noisyClassifierTargets,
  type ConfigNode,
  type RunSection,
} from '../config/index.js';
import { nodeAt } from '../config/node.js';
import type { DataSource } from '../data/index.js';
import { saveClassNames } from '../io/class_names.js';
import { NLayerDiscriminator, saveEncoderUNet } from '../ldm/index.js';
import { suggestion } from '../suggestion.js';
import {
  buildFirstStageRun,
  buildLatentDiffusionRun,
  buildNoisyClassifierRun,
  cacheRunLatents,
  classNames,
  learningRateOf,
  needsConditions,
  readFirstStageTraining,
  readLatentDiffusionTraining,
  readNoisyClassifierTraining,
  saveTrainedFirstStage,
  saveTrainedLatentDiffusion,
  Trainer,
  type CachedLatentDiffusionRun,
  type FirstStageTrainingConfig,
  type LatentDiffusionRun,
  type LatentDiffusionTrainingConfig,
  type Logger,
  type RunFolder,
  type TrainerOptions,
  type TrainingResult,
  type TrainingTask,
} from '../train/index.js';
import { checkCacheable } from '../train/cached_run.js';
import { diffusionParts, firstStageParameters } from './model_parts.js';
import { UsageError } from './run.js';
import { terminalBar } from './terminal_bar.js';

/** A training as a configuration describes it. */
export interface Training {
  readonly learningRate: number;
  /** Settings of the configuration that are accepted and change nothing, although they mean to. */
  readonly ignored: readonly string[];
  /** What is said of the run itself. */
  readonly run: RunSection;
  /** Networks by name, and their numbers of parameters: the whole first. None where files must be read to know. */
  parts(): [name: string, parameters: number][];
  /** Loads weights, lists pictures. */
  build(): Promise<BuiltTraining>;
}

/** A training with everything that it takes. */
export interface BuiltTraining {
  /** Number of trained parameters of the model. */
  readonly parameters: number;
  /** @returns null when it was interrupted before the first step could be taken */
  run(where: { folder: RunFolder; loggers: Logger[] }, signal: AbortSignal): Promise<Result>;
  /** Saves the trained model as a folder. */
  save(folder: string): Promise<void>;
  /** Ends the loaders' threads, which would keep the process alive. */
  dispose(): Promise<void>;
}

type Result = TrainingResult | null;

/** Chooses by `model.target`. @throws ConfigError when the configuration is of no kind */
export function trainingOf(tree: ConfigNode): Training {
  const node = nodeAt(tree, ['model', 'target']);
  const target = node?.kind === 'scalar' ? String(node.value) : '';
  if (diffusionModelTargets.names.includes(target)) return diffusionTraining(tree);
  if (noisyClassifierTargets.names.includes(target)) return classifierTraining(tree);
  const all = [firstStageTargets, diffusionModelTargets, noisyClassifierTargets];
  const known = all.flatMap(({ names }) => names);
  if (node && !known.includes(target))
    throw new ConfigError(
      `'${target}' is not known as a model to train.${suggestion(target, known) || ` Known are ${known.join(', ')}.`}`,
      node.place,
    );
  return firstStageTraining(tree);
}

/** @throws ConfigError when the configuration is of no first stage */
export function firstStageTraining(tree: ConfigNode): Training {
  const config = readFirstStageTraining(tree);
  if (config.run.cacheLatents)
    throw new UsageError('a first stage is trained on pictures and has no latents to cache.');
  return {
    learningRate: learningRateOf(config),
    ignored: config.ignored,
    run: config.run,
    parts: () => firstStageParts(config),
    async build() {
      const run = await buildFirstStageRun(config);
      return {
        parameters: run.model.parameterCount(),
        run: (where, signal) => train(run, where, signal),
        save: (folder) => saveTrainedFirstStage(folder, run),
        dispose: () => disposeLoaders(run),
      };
    },
  };
}

function diffusionTraining(tree: ConfigNode): Training {
  const config = readLatentDiffusionTraining(tree);
  const { spec } = config.model.spec;
  return {
    learningRate: learningRateOf(config),
    ignored: config.ignored,
    run: config.run,
    parts: () => wholeAndParts(config),
    async build() {
      refuseOther(config);
      const run = await buildLatentDiffusionRun(config);
      const classes = classNames(spec, run.data);
      const trained = run.model.trainedParameters();
      return {
        parameters: trained.reduce((sum, { numel }) => sum + numel, 0),
        run: async (where, signal) => {
          if (!config.run.cacheLatents) return train(run, where, signal);
          const cached = await cache(run, config, join(where.folder.path, 'latents'), signal);
          return cached && train(cached, where, signal);
        },
        save: async (folder) => {
          await saveTrainedLatentDiffusion(folder, run);
          if (classes.length > 0) await saveClassNames(folder, classes);
        },
        dispose: () => disposeLoaders(run),
      };
    },
  };
}

function classifierTraining(tree: ConfigNode): Training {
  const config = readNoisyClassifierTraining(tree);
  if (config.run.cacheLatents)
    throw new UsageError(
      'a classifier of noisy latents is trained on pictures: --cache-latents is for diffusion models.',
    );
  return {
    learningRate: learningRateOf(config),
    ignored: config.ignored,
    run: config.run,
    parts: () => [],
    async build() {
      const run = await buildNoisyClassifierRun(config);
      return {
        parameters: run.classifier.parameterCount(),
        run: (where, signal) => train(run, where, signal),
        save: (folder) => saveEncoderUNet(folder, run.classifier),
        dispose: () => disposeLoaders(run),
      };
    },
  };
}

// Before anything is loaded.
function refuseOther({ model, data, run }: LatentDiffusionTrainingConfig): void {
  if (run.cacheLatents) checkCacheable(model.spec.spec);
  if (!needsConditions(model.spec.spec)) return;
  for (const set of [data?.spec.train, data?.spec.validation])
    if (set && !set.spec.condition)
      throw new UsageError(
        `the model has a conditioner of kind ${model.spec.spec.conditioner!.kind}, and ${set.target} holds nothing ` +
          'for it: choose a data set whose pictures come with captions, boxes, maps or masks, as the model needs.',
      );
}

/** What the trainings have in common. */
interface Run<Batch> {
  readonly task: TrainingTask<Batch>;
  readonly data: DataSource<Batch>;
  readonly options: Omit<TrainerOptions<Batch>, 'folder' | 'loggers'>;
}

function train<Batch>(
  { task, data, options }: Run<Batch>,
  where: { folder: RunFolder; loggers: Logger[] },
  signal: AbortSignal,
): Promise<TrainingResult> {
  return new Trainer(task, data, { ...options, ...where }).run({ signal });
}

async function disposeLoaders<Batch>({ data, options }: Run<Batch>): Promise<void> {
  await data.dispose?.();
  await options.validation?.dispose?.();
}

// Null after Ctrl-C: what was encoded until then will be encoded again.
async function cache(
  run: LatentDiffusionRun,
  config: LatentDiffusionTrainingConfig,
  folder: string,
  signal: AbortSignal,
): Promise<CachedLatentDiffusionRun | null> {
  const bar = terminalBar('encoding {bar} {value}/{total}');
  bar?.start(run.data.dataset.length, 0);
  try {
    const onProgress = (images: number) => bar?.update(images);
    return await cacheRunLatents(run, config, folder, { onProgress, signal });
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  } finally {
    bar?.stop();
  }
}

function firstStageParts({ model }: FirstStageTrainingConfig): [string, number][] {
  const parts: [string, number][] = [[model.target, firstStageParameters(model.spec.spec)]];
  const loss = model.spec.training.lossconfig?.spec;
  if (loss && loss.kind !== 'none') {
    const { discInChannels: inputNc, discNdf: ndf, discNumLayers: nLayers } = loss.config;
    const { useActnorm } = loss.config;
    using discriminator = new NLayerDiscriminator({ inputNc, ndf, nLayers, useActnorm });
    parts.push(['discriminator', discriminator.parameterCount()]);
  }
  return parts;
}

function wholeAndParts({ model }: LatentDiffusionTrainingConfig): [string, number][] {
  const parts = diffusionParts(model.spec.spec);
  return [[model.target, parts.reduce((sum, [, own]) => sum + own, 0)], ...parts];
}
