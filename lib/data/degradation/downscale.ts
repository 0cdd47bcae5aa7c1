// Plain downscalings by a whole factor under the original's names, to the bit as OpenCV (`cv_`) and Pillow (`pil_`)
// compute them.
import { roundHalfToEven } from '../../rounding.js';
import type { Pixels } from '../pixels.js';
import { resizePixels, type ResizeFilter } from '../resize.js';

const filters = {
  cv_bilinear: 'linear',
  cv_area: 'area',
  pil_bilinear: 'bilinear',
  pil_bicubic: 'bicubic',
  pil_box: 'box',
  pil_hamming: 'hamming',
  pil_lanczos: 'lanczos',
} as const satisfies Record<string, ResizeFilter>;

/** Which pixel of a square of `factor` x `factor` stands for it, on each axis. */
const picked = {
  cv_nearest: () => 0,
  pil_nearest: (factor: number) => Math.floor(factor / 2),
} as const;

/**
 * OpenCV's INTER_CUBIC and INTER_LANCZOS4 are not antialiased: however large the square, they look at the pixels
 * around its centre. That is a pixel where the factor is odd; where it is even it lies between two, which together with
 * their neighbours have these weights on each axis, in 1/2048.
 */
const centred = {
  cv_bicubic: [-192, 1216, 1216, -192],
  cv_lanczos: [-26, 122, -340, 1267, 1267, -340, 122, -26],
} as const;

export type Downscaling = keyof typeof filters | keyof typeof picked | keyof typeof centred;

export const downscalings = [
  ...Object.keys(filters),
  ...Object.keys(picked),
  ...Object.keys(centred),
] as Downscaling[];

/** The picture at height x width, of which its own sides are multiples. */
export function downscale(image: Pixels, height: number, width: number, name: Downscaling): Pixels {
  if (name in filters)
    return resizePixels(image, height, width, filters[name as keyof typeof filters]);
  const axis = (extent: number, count: number) => tapsOf(name as Sparse, extent / count);
  return sample(image, height, width, axis(image.height, height), axis(image.width, width));
}

type Sparse = keyof typeof picked | keyof typeof centred;

/** The run of pixels that stands for a square: where it begins within it, and its weights. */
interface Taps {
  readonly factor: number;
  readonly first: number;
  readonly weights: readonly number[];
}

const one = 2048;

function tapsOf(name: Sparse, factor: number): Taps {
  if (name in picked) {
    const first = picked[name as keyof typeof picked](factor);
    return { factor, first, weights: [one] };
  }
  const middle = Math.floor(factor / 2);
  if (factor % 2 === 1) return { factor, first: middle, weights: [one] };
  const weights = centred[name as keyof typeof centred];
  return { factor, first: middle - weights.length / 2, weights };
}

// Pixels beyond the borders are those on them.
function sample(image: Pixels, height: number, width: number, rows: Taps, columns: Taps): Pixels {
  const { channels } = image;
  const inside = (index: number, extent: number) => Math.min(Math.max(index, 0), extent - 1);
  const data = new Uint8Array(height * width * channels);
  for (let y = 0, to = 0; y < height; ++y)
    for (let x = 0; x < width; ++x)
      for (let c = 0; c < channels; ++c) {
        let sum = 0;
        rows.weights.forEach((down, j) => {
          const row = inside(y * rows.factor + rows.first + j, image.height);
          columns.weights.forEach((across, i) => {
            const column = inside(x * columns.factor + columns.first + i, image.width);
            sum += down * across * image.data[(row * image.width + column) * channels + c];
          });
        });
        data[to++] = Math.min(255, Math.max(0, roundHalfToEven(sum / one ** 2)));
      }
  return { data, width, height, channels };
}
