// The paper's tasks, from what people have to pictures.
export { classIds } from './class_names.js';
export { classToImage, defaultClassGuidance, type ClassToImageOptions } from './class_to_image.js';
export { latentSize, type PictureOptions, type TaskOptions } from './pictures.js';
export { defaultTextGuidance, type PromptOptions } from './prompts.js';
export { textToImage, type TextToImageOptions } from './text_to_image.js';
export {
  layoutIds,
  layoutObjects,
  layoutToImage,
  layoutVocabulary,
  type LayoutToImageOptions,
  type WantedBox,
} from './layout_to_image.js';
export {
  SemanticCanvas,
  semanticLabels,
  semanticToImage,
  type CanvasOptions,
  type SemanticToImageOptions,
} from './semantic_to_image.js';
export {
  inpaint,
  inpaintingMode,
  prepareInpainting,
  withBorders,
  type BesideHoles,
  type Borders,
  type HoleOptions,
  type Inpainting,
  type InpaintOptions,
} from './inpaint.js';
export type { WantedOptions } from './wanted.js';
export {
  prepareUpscaling,
  upscale,
  upscalingFactor,
  type UpscaleOptions,
  type Upscaling,
} from './upscale.js';
