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
