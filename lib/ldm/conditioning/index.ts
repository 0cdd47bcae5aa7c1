export { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
export { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
export { TransformerEncoder, type TransformerEncoderConfig } from './transformer_encoder.js';
