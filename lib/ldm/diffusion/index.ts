export {
  GaussianDiffusion,
  type Denoiser,
  type DiffusionConfig,
  type DiffusionLoss,
  type Parameterization,
} from './gaussian_diffusion.js';
export {
  makeBetas,
  NoiseSchedule,
  type BetaSchedule,
  type NoiseScheduleConfig,
} from './schedule.js';
export {
  DiffusionWrapper,
  type ConditioningKey,
  type NetworkConditioning,
} from './diffusion_wrapper.js';
export { buildLatentDiffusion, LatentDiffusion } from './latent_diffusion.js';
export type { DiffusionBatch, LatentDiffusionLoss, LossDraws } from './latent_diffusion_loss.js';
export {
  checkLatentDiffusionSpec,
  classInputOf,
  type ClassInput,
  type LatentDiffusionSpec,
} from './latent_diffusion_spec.js';
export { decodeInBatches, type LatentSamples, type SampleOptions } from './latent_sampling.js';
export { checkPatchOptions, type PatchOptions } from './patch_grid.js';
export { decodePatchWise, encodePatchWise } from './patch_wise.js';
export type { SamplingMethod } from './method_options.js';
export { samplingSteps, type SamplingStepOptions } from './sampling_methods.js';
export { minSnrWeights } from './min_snr.js';
export {
  averageUpdates,
  holdsAverage,
  loadLatentDiffusion,
  saveLatentDiffusion,
  type LoadLatentDiffusionOptions,
} from './latent_diffusion_files.js';
export {
  diffusersIndexFile,
  diffusersPipelineFolders,
  fromDiffusersPipeline,
  fromDiffusersPipelineState,
  toDiffusersPipeline,
  toDiffusersPipelineFiles,
  type DiffusersPipeline,
  type DiffusersPipelineClass,
  type DiffusersPipelineConfigs,
} from './diffusers_pipeline.js';
export {
  diffusersSchedulers,
  fromDiffusersScheduler,
  toDiffusersScheduler,
  type DiffusersScheduler,
  type DiffusersSchedulerClass,
  type TimestepSpacing,
} from './diffusers_scheduler.js';
export type { ClassifierOptions } from './classifier_guidance.js';
export {
  noisyClassifierConfig,
  noisyClassifierLoss,
  type ClassifierLoss,
} from './noisy_classifier.js';
