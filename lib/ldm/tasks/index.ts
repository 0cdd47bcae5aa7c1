export { classIds } from './class_names.js';
export { classToImage, defaultClassGuidance, type ClassToImageOptions } from './class_to_image.js';
export {
  inpaint,
  inpaintingMode,
  prepareInpainting,
  withBorders,
  type Borders,
  type HoleOptions,
  type Inpainting,
  type InpaintOptions,
} from './inpaint.js';
export { latentSize, type PictureOptions } from './pictures.js';
export { defaultTextGuidance, textToImage, type TextToImageOptions } from './text_to_image.js';
