export { reshape, detach } from './view.js';
export { attention, type AttentionOptions } from './attention.js';
export { avgPool2d, maxPool2d, type Pool2dOptions } from './pool.js';
export { embedding } from './embedding.js';
export { resize, upsampleNearest2x, type ResizeOptions } from './resize.js';
export { timestepEmbedding, type TimestepEmbeddingOptions } from './timestep_embedding.js';
