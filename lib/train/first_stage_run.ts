// From a configuration to everything that training a first stage takes.
import { firstStages, type FirstStageEntry } from '../config/first_stages.js';
import type { TrainingConfig } from '../config/training.js';
import type { DataLoader, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { Json } from '../io/index.js';
import {
  buildFirstStage,
  loadFirstStage,
  saveFirstStage,
  type FirstStage,
  type FirstStageSpec,
} from '../ldm/index.js';
import type { FirstStageLoss } from '../config/losses.js';
import { manualSeed } from '../random.js';
import { firstStageTask } from './first_stage.js';
import type { TrainerOptions } from './options.js';
import type { TrainingTask } from './task.js';

/** A configuration of a first stage's training; see {@link readFirstStageTraining}. */
export type FirstStageTrainingConfig = TrainingConfig<FirstStageEntry, FirstStage, []>;

/** All that a {@link Trainer} takes, but its folder and loggers. */
export interface FirstStageRun {
  readonly model: FirstStage;
  readonly loss: NonNullable<FirstStageLoss>;
  readonly task: TrainingTask<ImageBatch>;
  readonly data: DataLoader;
  readonly options: Omit<TrainerOptions<ImageBatch>, 'folder' | 'loggers'>;
  readonly learningRate: number;
}

/** The original's, whose runs a seed of their own have. */
const defaultSeed = 23;

/**
 * The learning rate that the original trains with: the base rate times the images in a step, or as it is
 * with `scale_lr: false`.
 */
export function learningRateOf({ baseLearningRate, data, trainer, run }: FirstStageTrainingConfig): number {
  if (run.scaleLr === false) return baseLearningRate;
  return baseLearningRate * (trainer.accumulateGradBatches ?? 1) * (data?.spec.batchSize ?? 1);
}
