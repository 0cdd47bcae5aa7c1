export {
  SemanticCanvas,
  semanticLabels,
  semanticToImage,
  type CanvasOptions,
  type SemanticToImageOptions,
} from './semantic_to_image.js';
