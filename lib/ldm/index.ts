// Latent diffusion: the paper's nouns.
export { fromOriginal, type OriginalParams } from './config.js';
export { isDiffusersConfig } from './diffusers_rules.js';
export {
  diffusersWeights,
  type ConvertedReader,
  type ConvertedState,
  type ConvertedTensor,
} from './diffusers_state.js';
export * from './conditioning/index.js';
export * from './diffusion/index.js';
export * from './first_stage/index.js';
export * from './losses/index.js';
export * from './presets/index.js';
export * from './samplers/index.js';
export * from './tasks/index.js';
export * from './unet/index.js';
