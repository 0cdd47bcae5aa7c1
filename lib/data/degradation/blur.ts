// Convolution with a kernel, the picture mirrored beyond its borders without repeating the edge: SciPy's
// ndimage.convolve in mode 'mirror'. The kernel is turned round, and its centre lies at index ⌊size / 2⌋.
import type { FloatImage } from './floats.js';
import type { Kernel } from './kernels.js';

/** Weights below this share of the largest are left out: all of them together change no byte. */
const negligible = 2 ** -24;

/** Blurs every channel with a square kernel. */
export function blur(image: FloatImage, { size, weights }: Kernel): FloatImage {
  const { width, height, channels } = image;
  const columns = mirrored(width, size);
  const stride = columns.length * channels;
  const rows = mirrored(height, size);
  const padded = new Float32Array(rows.length * stride);
  rows.forEach((y, to) => {
    columns.forEach((x, column) => {
      for (let c = 0; c < channels; ++c)
        padded[to * stride + column * channels + c] = image.data[(y * width + x) * channels + c];
    });
  });

  const floor = negligible * weights.reduce((a, b) => Math.max(a, b));
  const offsets: number[] = [];
  const taps: number[] = [];
  for (let j = 0; j < weights.length; ++j) {
    const weight = weights[weights.length - 1 - j];
    if (weight < floor) continue;
    offsets.push(Math.floor(j / size) * stride + (j % size) * channels);
    taps.push(weight);
  }

  const row = width * channels;
  const data = new Float32Array(height * row);
  const sums = new Float64Array(row);
  for (let y = 0; y < height; ++y) {
    sums.fill(0);
    for (let k = 0; k < taps.length; k += 4) addFour(sums, padded, y * stride, offsets, taps, k);
    data.set(sums, y * row);
  }
  return { data, width, height, channels };
}

// Four weights at once: the sums are read and written a quarter as often.
function addFour(
  sums: Float64Array,
  values: Float32Array,
  begin: number,
  offsets: readonly number[],
  taps: readonly number[],
  k: number,
): void {
  const last = taps.length - 1;
  const at = (i: number) => begin + offsets[Math.min(i, last)];
  const weight = (i: number) => (i > last ? 0 : taps[i]);
  const [a, b, c, d] = [at(k), at(k + 1), at(k + 2), at(k + 3)];
  const [p, q, r, s] = [weight(k), weight(k + 1), weight(k + 2), weight(k + 3)];
  for (let i = 0; i < sums.length; ++i)
    sums[i] += p * values[a + i] + q * values[b + i] + r * values[c + i] + s * values[d + i];
}

/**
 * Blurs with the product of an axis with itself.
 * @param every keeps this pixel of each row and column, beginning with the first. Default 1: all
 */
export function blurSeparable(image: FloatImage, axis: Float64Array, every = 1): FloatImage {
  const { channels } = image;
  const columns = mirrored(image.width, axis.length);
  const rows = mirrored(image.height, axis.length);
  const width = Math.ceil(image.width / every);
  const height = Math.ceil(image.height / every);
  const stride = width * channels;
  const turned = axis.toReversed();

  const wide = new Float32Array(image.height * stride);
  const padded = new Float32Array(columns.length * channels);
  const sums = new Float64Array(stride);
  // Without gaps a row is one long run; otherwise each pixel is one.
  const run = every === 1 ? stride : channels;
  for (let y = 0; y < image.height; ++y) {
    const begin = y * image.width;
    for (let x = 0, to = 0; x < columns.length; ++x)
      for (let c = 0; c < channels; ++c)
        padded[to++] = image.data[(begin + columns[x]) * channels + c];
    sums.fill(0);
    for (let k = 0; k < turned.length; ++k) {
      const weight = turned[k];
      for (let to = 0, from = k * channels; to < stride; to += run, from += every * run)
        for (let i = 0; i < run; ++i) sums[to + i] += weight * padded[from + i];
    }
    wide.set(sums, y * stride);
  }

  const data = new Float32Array(height * stride);
  for (let y = 0; y < height; ++y) {
    sums.fill(0);
    for (let k = 0; k < turned.length; ++k) {
      const from = rows[y * every + k] * stride;
      const weight = turned[k];
      for (let i = 0; i < stride; ++i) sums[i] += weight * wide[from + i];
    }
    data.set(sums, y * stride);
  }
  return { data, width, height, channels };
}

// Which pixel of an axis stands at each place of the axis that is extended for a kernel of `size`.
function mirrored(extent: number, size: number): number[] {
  const centre = Math.floor(size / 2);
  const before = size - 1 - centre;
  const period = Math.max(1, 2 * (extent - 1));
  return Array.from({ length: extent + size - 1 }, (_, i) => {
    const place = Math.abs(i - before) % period;
    return place < extent ? place : period - place;
  });
}
