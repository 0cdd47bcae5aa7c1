// Training: tasks and what runs them.
export {
  RecordableLoss,
  type AnyOptimizer,
  type Phase,
  type PhaseLoss,
  type StepContext,
  type TrainingTask,
} from './task.js';
export { Trainer, type TrainingResult } from './trainer.js';
export type { TrainerOptions } from './options.js';
export {
  TrainingCycle,
  type TrainingCycleOptions,
  type PhaseReport,
  type TrainingPrecision,
} from './cycle.js';
export { openRunFolder, type RunFolder } from './run_folder.js';
export { JsonlLogger } from './loggers/jsonl.js';
export type { Logger, RunStart, StepReport } from './loggers/logger.js';
export { ProgressLogger, type ProgressOptions } from './loggers/progress.js';
export { TensorBoardLogger } from './loggers/tensorboard.js';
export { firstStageTask, type FirstStageTaskOptions } from './first_stage.js';
export {
  buildFirstStageRun,
  readFirstStageTraining,
  saveTrainedFirstStage,
  type FirstStageRun,
  type FirstStageTrainingConfig,
} from './first_stage_run.js';
export { latentDiffusionTask, type LatentDiffusionTaskOptions } from './latent_diffusion.js';
export type { DiffusionPictureOptions } from './diffusion_pictures.js';
export {
  cacheLatents,
  LatentCache,
  type CachedBatch,
  type CacheLatentsOptions,
  type LatentCacheOptions,
} from './latent_cache.js';
export {
  buildLatentDiffusionRun,
  needsConditions,
  readLatentDiffusionTraining,
  saveTrainedLatentDiffusion,
  type LatentDiffusionRun,
  type LatentDiffusionTrainingConfig,
} from './latent_diffusion_run.js';
export {
  noisyClassifierTask,
  type ClassifiedBatch,
  type NoisyClassifierTaskOptions,
} from './noisy_classifier.js';
export {
  buildNoisyClassifierRun,
  readNoisyClassifierTraining,
  type NoisyClassifierRun,
  type NoisyClassifierTrainingConfig,
} from './noisy_classifier_run.js';
export { cacheRunLatents, type CachedLatentDiffusionRun } from './cached_run.js';
export { classNames } from './class_names.js';
export { learningRateOf } from './run_config.js';
