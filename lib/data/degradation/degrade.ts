// Low-resolution pictures for super-resolution (paper, section 4.4 and appendix E.3), by the original's names.
import { ArgumentError, check } from '../../errors.js';
import { suggestion } from '../../suggestion.js';
import { crop, type Pixels } from '../pixels.js';
import { bsrganVariants, drawBsrgan, type BsrganVariant } from './bsrgan.js';
import { downscale, downscalings, type Downscaling } from './downscale.js';
import type { DrawKey } from './draws.js';
import { applySteps, wholeSides, type DegradationStep } from './steps.js';

/**
 * How a small picture is made of a large one.
 *
 * - `'bsrgan'`, `'bsrgan_light'`: blurs, noise and JPEG in any order, drawn anew each time. The published
 *   super-resolution model was trained with the light form.
 * - `'pil_bicubic'`: antialiased, as the paper's comparison on ImageNet has it. `pil_nearest`, `pil_bilinear`,
 *   `pil_box`, `pil_hamming` and `pil_lanczos` are Pillow's as well.
 * - `'cv_nearest'`, `'cv_bilinear'`, `'cv_bicubic'`, `'cv_area'`, `'cv_lanczos'`: OpenCV's, of which only the fourth
 *   looks at all pixels.
 */
export type DegradationName = BsrganVariant | Downscaling;

export const degradationNames: readonly DegradationName[] = [...bsrganVariants, ...downscalings];

/** A small picture, and how it came about. */
export interface Degraded {
  readonly image: Pixels;
  /** What was drawn, in the order in which it was done; empty for a plain downscaling. */
  readonly steps: readonly DegradationStep[];
}

/** JPEG has no larger sides. */
const largestSide = 65_535;
const largestFactor = 64;

/** @throws ArgumentError when there is no such degradation, or the factor is impossible */
export function checkDegradation(name: string, factor: number): asserts name is DegradationName {
  check((degradationNames as readonly string[]).includes(name), () => {
    const known = `Known are ${degradationNames.join(', ')}.`;
    return `degradation: there is no '${name}'.${suggestion(name, degradationNames)} ${known}`;
  });
  check(Number.isInteger(factor) && factor >= 1 && factor <= largestFactor, () => {
    return `degradation: the factor must be an integer from 1 to ${largestFactor}, got ${factor}.`;
  });
}

/**
 * Makes a picture `factor` times smaller; what is left over of its sides beyond multiples is cut off.
 *
 * ```ts
 * const { image, steps } = await degrade(picture, 'bsrgan', 4, { seed: 23, epoch: 0, index: 7 });
 * ```
 *
 * @param image of 1 or 3 channels
 * @param key decides all that is random: the same key and picture give the same bytes
 * @throws ArgumentError when there is no such degradation, or the picture is not what it claims to be
 */
export async function degrade(
  image: Pixels,
  name: DegradationName,
  factor: number,
  key: DrawKey,
): Promise<Degraded> {
  checkDegradation(name, factor);
  checkPixels(image);
  if (isBsrgan(name)) {
    const steps = drawBsrgan(name, image, factor, key);
    return { image: await applySteps(image, factor, steps), steps };
  }
  const whole = crop(image, { top: 0, left: 0, ...wholeSides(image, factor) });
  const small = (side: number) => Math.max(1, Math.floor(side / factor));
  return { image: downscale(whole, small(whole.height), small(whole.width), name), steps: [] };
}

const isBsrgan = (name: DegradationName): name is BsrganVariant =>
  (bsrganVariants as readonly string[]).includes(name);

function checkPixels({ data, width, height, channels }: Pixels): void {
  const side = (value: number) => Number.isInteger(value) && value >= 1 && value <= largestSide;
  const fits = side(width) && side(height) && (channels === 1 || channels === 3);
  if (fits && data.length === width * height * channels) return;
  throw new ArgumentError(
    `degradation: a picture has sides from 1 to ${largestSide}, 1 or 3 channels and as many bytes. Got ` +
      `${width} x ${height} x ${channels} with ${data.length} bytes.`,
  );
}
