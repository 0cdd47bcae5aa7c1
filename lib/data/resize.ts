// Changing the size of pictures by the arithmetic of the libraries that the original's data sets used.
import type { Pixels, Window } from './pixels.js';
import { resizeArea, resizeLinear } from './resize_opencv.js';
import { resizePillow, type PillowFilter } from './resize_pillow.js';

/**
 * How pictures change their size.
 *
 * - `'linear'`: OpenCV's INTER_LINEAR, not antialiased. ImageNet, FFHQ and CelebA-HQ of the original.
 * - `'area'`: OpenCV's INTER_AREA, box averages. The original's super-resolution crops, and the autoencoders
 *   trained on them.
 * - `'box'`, `'bilinear'`, `'hamming'`, `'bicubic'`, `'lanczos'`: Pillow's, antialiased. LSUN is `'bicubic'`.
 *
 * All are computed here, to the bit as those libraries do. sharp's kernels of the same names gave up to 26
 * levels of 255 more or less than Pillow's when a test picture shrank, and more when it grew.
 */
export type ResizeFilter = 'linear' | 'area' | PillowFilter;

export const resizeFilters: readonly ResizeFilter[] = [
  'linear',
  'area',
  'box',
  'bilinear',
  'hamming',
  'bicubic',
  'lanczos',
];

/**
 * Resizes to height x width.
 * @param window the part of the result that is wanted. Default: all of it
 */
export function resizePixels(
  image: Pixels,
  height: number,
  width: number,
  filter: ResizeFilter,
  window: Window = { top: 0, left: 0, height, width },
): Pixels {
  if (filter === 'linear') return resizeLinear(image, height, width, window);
  if (filter === 'area') return resizeArea(image, height, width, window);
  return resizePillow(image, height, width, filter, window);
}
