export { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
export { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
export {
  buildConditionEncoder,
  checkConditionerSpec,
  unconditionalInput,
  type ConditionEncoder,
  type ConditionerSpec,
  type EncoderSpec,
} from './conditioner.js';
export { SpatialRescaler, type SpatialRescalerConfig } from './spatial_rescaler.js';
export { TransformerEncoder, type TransformerEncoderConfig } from './transformer_encoder.js';
export {
  LayoutTokens,
  type Layout,
  type LayoutObject,
  type LayoutTokensConfig,
  type LayoutView,
  type ObjectFlags,
  type RelativeBox,
} from './layout_tokens.js';
