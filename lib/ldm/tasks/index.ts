// The paper's tasks, from what people have to pictures.
export { upscale, upscalingFactor, type UpscaleOptions } from './upscale.js';
