export { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
export { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
export type { ConditionInput, HybridInput, MaskedImage } from './condition_input.js';
export {
  buildConditionEncoder,
  checkConditionerSpec,
  textInputOf,
  hasOwnWeights,
  type ConditionEncoder,
  type ConditionerSpec,
  type ConditionStage,
  type EncoderSpec,
  type TextInput,
  type HybridSpec,
  type MaskedLatentsSpec,
  type PartSpec,
} from './conditioner.js';
export { HybridConditioner } from './hybrid_conditioner.js';
export { conditionerShapes } from './outline.js';
export { SpatialRescaler, type SpatialRescalerConfig } from './spatial_rescaler.js';
export { TransformerEncoder, type TransformerEncoderConfig } from './transformer_encoder.js';
export { ClipTextEncoder, type ClipTextEncoderConfig } from './text/clip_text_encoder.js';
export { checkTokenizer, openTokenizer } from './text/open_tokenizer.js';
export {
  TextTokenizer,
  type TextTokenizerOptions,
  type WordVocabularyOptions,
} from './text/tokenizer.js';
export type { BertVocabulary, ClipVocabulary, TextVocabulary } from './text/vocabulary.js';
export {
  LayoutTokens,
  type Layout,
  type LayoutObject,
  type LayoutTokensConfig,
  type LayoutView,
  type ObjectFlags,
  type RelativeBox,
} from './layout_tokens.js';
export { unconditionalCondition, unconditionalInput } from './unconditional.js';
