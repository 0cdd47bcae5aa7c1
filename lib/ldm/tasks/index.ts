export { inpaint, inpaintingMode, type InpaintOptions } from './inpaint.js';
