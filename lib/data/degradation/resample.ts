// Resizing of pictures of real numbers: OpenCV's three kinds that BSRGAN draws from, and the halving of its
// MATLAB-like resize. The weights are OpenCV's for bytes too (`resize_opencv.ts`), here without rounding.
import { boxes, enlargingPlace, linearPlace } from '../resize_opencv.js';
import type { FloatImage } from './floats.js';

/** cv2.INTER_LINEAR, INTER_CUBIC (neither antialiased) and INTER_AREA. */
export type ResampleFilter = 'linear' | 'cubic' | 'area';

export const resampleFilters: readonly ResampleFilter[] = ['linear', 'cubic', 'area'];

/** Resizes to height x width, as cv2.resize does with float32. */
export function resample(
  image: FloatImage,
  height: number,
  width: number,
  filter: ResampleFilter,
): FloatImage {
  const grows = image.height < height || image.width < width;
  const along = (from: number, to: number): Taps => {
    if (filter === 'cubic') return cubicTaps(from, to);
    if (filter === 'area' && !grows) return boxes(from, to, 0, to);
    return pairTaps(from, to, filter === 'area' ? enlargingPlace(from, to) : linearPlace(from, to));
  };
  return apply(image, along(image.height, height), along(image.width, width));
}

/**
 * Halves both sides, rounded up, by MATLAB's antialiased bicubic (a = -1/2): eight weights, the borders mirrored with
 * the edge repeated.
 */
export function halve(image: FloatImage): FloatImage {
  const half = (from: number) => {
    const weights = [-3, -9, 29, 111, 111, 29, -9, -3].map((weight) => weight / 256);
    return taps(from, Math.ceil(from / 2), 8, (i) => ({ first: 2 * i - 3, weights }), reflected);
  };
  return apply(image, half(image.height), half(image.width));
}

/** The run of source pixels that each output pixel sums, with their weights, in `size` places each. */
interface Taps {
  readonly start: Int32Array;
  readonly count: Int32Array;
  readonly weight: Float32Array | Float64Array;
  readonly size: number;
}

type Border = (index: number, extent: number) => number;

const replicated: Border = (index, extent) => Math.min(Math.max(index, 0), extent - 1);

const reflected: Border = (index, extent) => {
  const place = ((index % (2 * extent)) + 2 * extent) % (2 * extent);
  return place < extent ? place : 2 * extent - 1 - place;
};

function taps(
  from: number,
  to: number,
  size: number,
  place: (i: number) => { first: number; weights: readonly number[] },
  border: Border = replicated,
): Taps {
  const start = new Int32Array(to);
  const count = new Int32Array(to);
  const weight = new Float64Array(to * size);
  for (let i = 0; i < to; ++i) {
    const { first, weights } = place(i);
    const indices = weights.map((_, k) => border(first + k, from));
    start[i] = Math.min(...indices);
    count[i] = Math.max(...indices) - start[i] + 1;
    indices.forEach((index, k) => (weight[i * size + index - start[i]] += weights[k]));
  }
  return { start, count, weight, size };
}

const pairTaps = (from: number, to: number, place: ReturnType<typeof linearPlace>): Taps =>
  taps(from, to, 2, (i) => {
    const { position, fraction } = place(i);
    return { first: position, weights: [1 - fraction, fraction] };
  });

// Keys' cubic with a = -3/4.
function cubicTaps(from: number, to: number): Taps {
  const place = linearPlace(from, to);
  const a = -0.75;
  const near = (x: number) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return taps(from, to, 4, (i) => {
    const { position, fraction: x } = place(i);
    return { first: position - 1, weights: [far(1 + x), near(x), near(1 - x), far(2 - x)] };
  });
}

function apply(image: FloatImage, rows: Taps, columns: Taps): FloatImage {
  const { channels } = image;
  const [height, width] = [rows.start.length, columns.start.length];
  const stride = width * channels;
  const wide = new Float32Array(image.height * stride);
  for (let y = 0, to = 0; y < image.height; ++y)
    for (let x = 0; x < width; ++x) {
      const begin = (y * image.width + columns.start[x]) * channels;
      const end = begin + columns.count[x] * channels;
      for (let c = 0; c < channels; ++c) {
        let sum = 0;
        let k = x * columns.size;
        for (let i = begin + c; i < end; i += channels) sum += image.data[i] * columns.weight[k++];
        wide[to++] = sum;
      }
    }
  const data = new Float32Array(height * stride);
  const sums = new Float64Array(stride);
  for (let y = 0; y < height; ++y) {
    sums.fill(0);
    for (let k = 0; k < rows.count[y]; ++k) {
      const weight = rows.weight[y * rows.size + k];
      const from = (rows.start[y] + k) * stride;
      for (let i = 0; i < stride; ++i) sums[i] += weight * wide[from + i];
    }
    data.set(sums, y * stride);
  }
  return { data, width, height, channels };
}
