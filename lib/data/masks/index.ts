// Masks for inpainting, from a seed alone.
export { drawMask, type MaskLimits } from './draw.js';
export type { MaskKey } from './draws.js';
export {
  checkMaskFamily,
  maskFamilies,
  type BorderFamily,
  type BoxFamily,
  type MaskFamily,
  type MaskFamilyName,
  type MaskMixture,
  type StrokeFamily,
} from './families.js';
