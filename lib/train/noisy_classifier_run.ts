// From a configuration to all that training a classifier of noisy latents takes.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  noisyClassifierTargets,
  readTraining,
  type ConfigNode,
  type NoisyClassifierEntry,
  type TrainingConfig,
} from '../config/index.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import {
  EncoderUNetModel,
  loadEncoderUNet,
  loadLatentDiffusion,
  noisyClassifierConfig,
  type LatentDiffusion,
} from '../ldm/index.js';
import { manualSeed } from '../random.js';
import { checkClasses } from './class_names.js';
import { noisyClassifierTask } from './noisy_classifier.js';
import type { TrainerOptions } from './options.js';
import { learningRateOf, runOf } from './run_config.js';
import type { TrainingTask } from './task.js';

/** What a configuration says of the training of a classifier of noisy latents. */
export type NoisyClassifierTrainingConfig = TrainingConfig<
  NoisyClassifierEntry,
  NoisyClassifierEntry,
  []
>;

/** All that a Trainer takes for a classifier of noisy latents, but a folder and loggers. */
export interface NoisyClassifierRun {
  readonly classifier: EncoderUNetModel;
  readonly task: TrainingTask<ImageBatch>;
  readonly data: DataLoader;
  readonly options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'>;
}

/** Reads a merged configuration of the training of a classifier. @throws ConfigError */
export function readNoisyClassifierTraining(tree: ConfigNode): NoisyClassifierTrainingConfig {
  return readTraining(tree, noisyClassifierTargets);
}

/**
 * Loads the diffusion model of a configuration, and builds classifier and loaders.
 *
 * @throws ArgumentError that says what the configuration lacks; FileError for pictures or weights that
 * cannot be read
 */
export async function buildNoisyClassifierRun(
  config: NoisyClassifierTrainingConfig,
): Promise<NoisyClassifierRun> {
  const { spec } = config.model;
  const { data, options } = await runOf(config, { monitor: spec.monitor });
  checkClasses(spec.numClasses, [data, options.validation], {
    needs: 'a classifier learns the classes of pictures',
    settings: 'num_classes',
  });
  const model = await loadLatentDiffusion(await folderOf(spec.diffusionPath));
  // Weights are drawn from the global generator.
  manualSeed(options.seed);
  const classifier = spec.ckptPath
    ? await loadEncoderUNet(spec.ckptPath)
    : buildClassifier(spec, model);
  check(classifier.config.outChannels === spec.numClasses, () => {
    return `${spec.ckptPath} tells ${classifier.config.outChannels} classes, num_classes are ${spec.numClasses}.`;
  });
  const task = noisyClassifierTask({
    model: model.eval(),
    classifier: classifier.train(),
    learningRate: learningRateOf(config),
    weightDecay: spec.weightDecay,
    schedule: spec.schedulerConfig?.build(),
  });
  return { classifier, task, data, options };
}

const buildClassifier = ({ numClasses, pool }: NoisyClassifierEntry, { spec }: LatentDiffusion) =>
  new EncoderUNetModel(noisyClassifierConfig(spec, numClasses, pool));

// A model's folder, or the one inside of a run's.
async function folderOf(path: string): Promise<string> {
  const isModel = await stat(join(path, 'config.json')).catch(() => null);
  return isModel ? path : join(path, 'model');
}
