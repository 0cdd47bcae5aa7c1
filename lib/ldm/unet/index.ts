export { AttentionBlock, type AttentionBlockOptions } from './attention_block.js';
export { unetConfig, type UNetConfig } from './config.js';
export { PreparedContext, type Context, type KeysAndValues } from './context.js';
export { checkEncoderUNetConfig, checkUNetConfig } from './rules.js';
export { loadEncoderUNet, saveEncoderUNet } from './encoder_unet_files.js';
export {
  diffusersUNetNames,
  fromDiffusersUNetState,
  hasDiffusersUNetKeys,
  saveDiffusersUNet,
  toDiffusersUNetState,
} from './diffusers.js';
export {
  diffusersUNets,
  fromDiffusersUNetConfig,
  toDiffusersUNetConfig,
} from './diffusers_config.js';
export { unetLayers, unetShapes, type UNetLayer } from './outline.js';
export {
  AttentionPool2d,
  encoderUnetConfig,
  EncoderUNetModel,
  type EncoderPool,
  type EncoderUNetConfig,
} from './encoder_unet.js';
export { Downsample as UNetDownsample, Upsample as UNetUpsample } from './resample.js';
export { ResBlock, type ResBlockOptions } from './res_block.js';
export {
  BasicTransformerBlock,
  CrossAttention,
  FeedForward,
  SpatialTransformer,
  type CrossAttentionOptions,
  type FeedForwardOptions,
  type SpatialTransformerOptions,
  type TransformerBlockOptions,
} from './transformer.js';
export { UNetModel, type UNetConditioning } from './unet.js';
