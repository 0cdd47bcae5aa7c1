export {
  firstStagePresets,
  type FirstStagePreset,
  type PublishedFirstStage,
} from './first_stages.js';
export {
  autoencoderTraining,
  firstStageTraining,
  type FirstStageTraining,
  type KlLossPreset,
  type VqLossPreset,
} from './first_stage_training.js';
export { latentDiffusionPresets, type LatentDiffusionPreset } from './latent_diffusion.js';
