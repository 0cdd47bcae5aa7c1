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
export { noisyClassifierLoss, type ClassifierLoss } from './noisy_classifier.js';
