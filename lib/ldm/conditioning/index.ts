export { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
export { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
export {
  buildConditionEncoder,
  checkConditionerSpec,
  textInputOf,
  unconditionalInput,
  type ConditionEncoder,
  type ConditionerSpec,
  type EncoderSpec,
  type TextInput,
} from './conditioner.js';
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
