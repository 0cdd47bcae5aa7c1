// A degradation as plain data: what was drawn, step by step, and what the steps make of a picture.
import { crop, type Pixels } from '../pixels.js';
import { blur, blurSeparable } from './blur.js';
import { clip, toBytes, toFloats, type FloatImage } from './floats.js';
import { throughJpeg } from './jpeg.js';
import { anisotropicKernel, gaussianAxis, shiftedAxis } from './kernels.js';
import { addNoise, type Noise } from './noise.js';
import { halve, resample, type ResampleFilter } from './resample.js';

/** One step, with all that decides it. Lengths are in pixels of the picture that the step is given. */
export type DegradationStep =
  /** an isotropic Gaussian of size x size weights */
  | { readonly kind: 'blur'; readonly size: number; readonly sigma: number }
  /** an anisotropic one: variances `l1` along `theta`, in radians, and `l2` across */
  | {
      readonly kind: 'anisotropic-blur';
      readonly size: number;
      readonly theta: number;
      readonly l1: number;
      readonly l2: number;
    }
  /** to these sides, as OpenCV does */
  | {
      readonly kind: 'resize';
      readonly height: number;
      readonly width: number;
      readonly filter: ResampleFilter;
    }
  /** by MATLAB's antialiased bicubic */
  | { readonly kind: 'halve' }
  /** a Gaussian that is shifted by (factor - 1) / 2, of which every factor-th pixel is kept */
  | {
      readonly kind: 'decimate';
      readonly size: number;
      readonly sigma: number;
      readonly factor: number;
    }
  | ({ readonly kind: 'noise' } & Noise)
  | { readonly kind: 'jpeg'; readonly quality: number };

/**
 * What the steps make of a picture whose sides are first cut down to multiples of `factor`, at the bottom and at the
 * right.
 */
export async function applySteps(
  image: Pixels,
  factor: number,
  steps: readonly DegradationStep[],
): Promise<Pixels> {
  const { height, width } = wholeSides(image, factor);
  let degraded = toFloats(crop(image, { top: 0, left: 0, height, width }));
  for (const step of steps) degraded = await applyStep(degraded, step);
  return toBytes(degraded);
}

/** The sides of a picture without what is left over beyond multiples of `factor`. One below it stays as it is. */
export function wholeSides(
  { height, width }: { height: number; width: number },
  factor: number,
): { height: number; width: number } {
  const whole = (side: number) => (side < factor ? side : side - (side % factor));
  return { height: whole(height), width: whole(width) };
}

async function applyStep(image: FloatImage, step: DegradationStep): Promise<FloatImage> {
  switch (step.kind) {
    case 'blur':
      return blurSeparable(image, gaussianAxis(step.size, step.sigma));
    case 'anisotropic-blur':
      return blur(image, anisotropicKernel(step.size, step.theta, step.l1, step.l2));
    case 'resize':
      return clip(resample(image, step.height, step.width, step.filter));
    case 'halve':
      return clip(halve(image));
    case 'decimate': {
      const axis = shiftedAxis(gaussianAxis(step.size, step.sigma), step.factor);
      return clip(blurSeparable(image, axis, step.factor));
    }
    case 'noise':
      return clip(addNoise(image, step));
    case 'jpeg':
      return toFloats(await throughJpeg(toBytes(image), step.quality));
  }
}
