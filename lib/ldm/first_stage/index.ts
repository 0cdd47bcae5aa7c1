export { AttnBlock, LinearAttention } from './attention.js';
export { AutoencoderKL, type Reconstruction } from './autoencoder_kl.js';
export { Downsample, ResnetBlock, Upsample, type ResnetBlockOptions } from './blocks.js';
export { readCodeList } from './code_list.js';
export type { UnknownIndex } from './code_remap.js';
export { CodeUsage, codePerplexity, countCodes, type CodeUsageReport } from './code_usage.js';
export type { CodebookEmaOptions, CodebookStep, RestartOptions } from './codebook.js';
export {
  autoencoderConfig,
  firstStageConfig,
  vqConfig,
  type AttentionType,
  type AutoencoderConfig,
  type FirstStageConfig,
  type VqConfig,
} from './config.js';
export { Decoder } from './decoder.js';
export {
  diffusersKey,
  fromDiffusersState,
  hasDiffusersKeys,
  saveDiffusers,
  toDiffusersState,
} from './diffusers.js';
export {
  fromDiffusersConfig,
  toDiffusersConfig,
  type DiffusersFirstStage,
} from './diffusers_config.js';
export { DiagonalGaussian } from './diagonal_gaussian.js';
export { Encoder } from './encoder.js';
export {
  buildFirstStage,
  checkFirstStageSpec,
  loadFirstStage,
  saveFirstStage,
  type FirstStage,
  type FirstStageSpec,
  type LoadFirstStageOptions,
} from './first_stage.js';
export { firstStageShapes } from './outline.js';
export { IdentityFirstStage, type IdentityOptions, type Unquantized } from './identity.js';
export {
  decodeTiled,
  encodeTiled,
  type DecodeTiledOptions,
  type EncodeTiledOptions,
  type TilingOptions,
} from './tiling.js';
export { VectorQuantizer, type Quantized, type QuantizerOptions } from './vector_quantizer.js';
export { VQModel, VQModelInterface, type VqReconstruction } from './vq_model.js';
