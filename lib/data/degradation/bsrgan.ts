// What the two BSRGAN degradations of the original draw (Zhang et al., 2021): blurs, shrinking, noise and JPEG in any
// order. `bsrgan_light`, which the published super-resolution model was trained with, is a milder form.
import { Draws, type DrawKey } from './draws.js';
import { channelCovariance } from './noise.js';
import { resampleFilters } from './resample.js';
import { wholeSides, type DegradationStep } from './steps.js';

/** In what the two differ. */
interface Variant {
  readonly blurs: number;
  /** divides the bounds of the kernels' widths */
  readonly narrower: number;
  /** side of an anisotropic kernel */
  anisotropicSize(draws: Draws): number;
  isotropicSize(draws: Draws): number;
  /** that the first shrinking is a resize, and not a shifted kernel */
  readonly resizeProbability: number;
  /** deviation of noise in bytes */
  readonly noise: readonly [least: number, most: number];
  readonly jpeg: readonly [least: number, most: number];
}

const variants = {
  bsrgan: {
    blurs: 2,
    narrower: 1,
    anisotropicSize: (draws) => 2 * draws.integer(2, 11) + 3,
    isotropicSize: (draws) => 2 * draws.integer(2, 11) + 3,
    resizeProbability: 0.75,
    noise: [2, 25],
    jpeg: [30, 95],
  },
  bsrgan_light: {
    blurs: 1,
    narrower: 4,
    anisotropicSize: (draws) => draws.integer(2, 11) + 3,
    isotropicSize: (draws) => draws.integer(2, 4) + 3,
    resizeProbability: 0.8,
    noise: [1, 2],
    jpeg: [80, 95],
  },
} as const satisfies Record<string, Variant>;

export type BsrganVariant = keyof typeof variants;

export const bsrganVariants = Object.keys(variants) as BsrganVariant[];

type Operation = 'blur' | 'shrink' | 'fit' | 'noise' | 'jpeg';

interface Sides {
  readonly height: number;
  readonly width: number;
}

const decimatingSize = 25;
const midJpegProbability = 0.9;

/**
 * Draws the steps for a picture of these sides.
 *
 * @param factor how many times smaller both sides become; what is left over of them is cut off first
 */
export function drawBsrgan(
  name: BsrganVariant,
  picture: Sides,
  factor: number,
  key: DrawKey,
): DegradationStep[] {
  const variant: Variant = variants[name];
  const draws = new Draws(key);
  const steps: DegradationStep[] = [];
  let sides: Sides = wholeSides(picture, factor);
  let remaining = factor;
  if (factor === 4 && draws.chance(0.25)) {
    sides = shrunk(sides, 2);
    remaining = 2;
    steps.push(
      draws.chance(0.5)
        ? { kind: 'resize', ...sides, filter: draws.one(resampleFilters) }
        : { kind: 'halve' },
    );
  }
  for (const operation of drawOrder(variant, draws))
    switch (operation) {
      case 'blur':
        steps.push(drawBlur(variant, remaining, draws));
        break;
      case 'shrink':
        steps.push(drawShrinking(variant, sides, remaining, draws));
        break;
      case 'fit':
        // to the size wanted, whatever the shrinking left
        steps.push({
          kind: 'resize',
          ...shrunk(sides, remaining),
          filter: draws.one(resampleFilters),
        });
        break;
      case 'noise':
        steps.push(drawNoise(variant, draws));
        break;
      case 'jpeg':
        if (draws.chance(midJpegProbability)) steps.push(drawJpeg(variant, draws));
        break;
    }
  return [...steps, drawJpeg(variant, draws)];
}

// Any order, but for shrink and fit: of a pair that came the other way round each takes the other's place.
function drawOrder({ blurs }: Variant, draws: Draws): Operation[] {
  const operations: Operation[] = ['shrink', 'fit', 'noise', 'jpeg'];
  for (let i = 0; i < blurs; ++i) operations.push('blur');
  const order = draws.order(operations.length).map((i) => operations[i]);
  const [shrink, fit] = [order.indexOf('shrink'), order.indexOf('fit')];
  if (shrink > fit) [order[shrink], order[fit]] = [order[fit], order[shrink]];
  return order;
}

function drawBlur(variant: Variant, factor: number, draws: Draws): DegradationStep {
  const { narrower } = variant;
  if (draws.chance(0.5)) {
    const most = (4 + factor) / narrower;
    return {
      kind: 'anisotropic-blur',
      size: variant.anisotropicSize(draws),
      theta: draws.uniform(0, Math.PI),
      l1: draws.uniform(0, most),
      l2: draws.uniform(0, most),
    };
  }
  const size = variant.isotropicSize(draws);
  return { kind: 'blur', size, sigma: draws.uniform(0, (2 + 0.2 * factor) / narrower) };
}

function drawShrinking(
  variant: Variant,
  sides: Sides,
  factor: number,
  draws: Draws,
): DegradationStep {
  if (draws.chance(variant.resizeProbability)) {
    const scale = draws.uniform(1, 2 * factor);
    return { kind: 'resize', ...shrunk(sides, scale), filter: draws.one(resampleFilters) };
  }
  const sigma = draws.uniform(0.1, 0.6 * factor);
  return { kind: 'decimate', size: decimatingSize, sigma, factor };
}

function drawNoise({ noise: [least, most] }: Variant, draws: Draws): DegradationStep {
  const deviation = draws.integer(least, most) / 255;
  const share = draws.uniform();
  const shared = { kind: 'noise', seed: draws.word() } as const;
  if (share > 0.6) return { ...shared, form: 'colour', deviation };
  if (share < 0.4) return { ...shared, form: 'grey', deviation };
  const row = (count: number) => Array.from({ length: count }, () => draws.uniform());
  const covariance = channelCovariance(most / 255, row(3), row(9));
  return { ...shared, form: 'correlated', covariance };
}

const drawJpeg = ({ jpeg: [least, most] }: Variant, draws: Draws): DegradationStep => ({
  kind: 'jpeg',
  quality: draws.integer(least, most),
});

const shrunk = ({ height, width }: Sides, scale: number): Sides => ({
  height: Math.max(1, Math.floor(height / scale)),
  width: Math.max(1, Math.floor(width / scale)),
});
