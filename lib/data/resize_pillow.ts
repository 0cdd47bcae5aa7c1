// Pillow's resizing of 8-bit pictures, to the bit: the kernel is widened by the shrink factor (antialiased),
// weights are 22-bit integers, and each of the two passes rounds to bytes.
import type { Pixels, Window } from './pixels.js';

/** Pillow's filters by name: half the kernel's width, and the kernel. */
const kernels = {
  box: { support: 0.5, at: (x: number) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, at: (x: number) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, at: cubic },
  hamming: { support: 1, at: (x: number) => (Math.abs(x) < 1 ? sinc(x) * hamming(x) : 0) },
  lanczos: { support: 3, at: (x: number) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
} as const;

export type PillowFilter = keyof typeof kernels;

const precision = 22;

/** `image` resized to height x width, of which the pixels inside `window` come back. */
export function resizePillow(
  image: Pixels,
  height: number,
  width: number,
  filter: PillowFilter,
  window: Window,
): Pixels {
  const { channels } = image;
  const columns = weigh(image.width, width, filter, window.left, window.width);
  const rows = weigh(image.height, height, filter, window.top, window.height);

  // Only source rows that some wanted row looks at.
  const first = rows.start[0];
  const last = rows.start[window.height - 1] + rows.count[window.height - 1];
  const stride = window.width * channels;
  let wide: Uint8Array;
  if (image.width === width) {
    wide = new Uint8Array((last - first) * stride);
    for (let y = first; y < last; ++y) {
      const from = (y * width + window.left) * channels;
      wide.set(image.data.subarray(from, from + stride), (y - first) * stride);
    }
  } else wide = horizontal(image, columns, first, last);

  const data =
    image.height === height ? wide : vertical(wide, rows, first, { height: window.height, stride });
  return { data, width: window.width, height: window.height, channels };
}

/** For each output position the run of source positions that it sums, and their weights. */
interface Weights {
  start: Int32Array;
  count: Int32Array;
  /** `size` places for each output position. */
  weight: Int32Array;
  size: number;
}

function weigh(
  from: number,
  to: number,
  filter: PillowFilter,
  offset: number,
  wanted: number,
): Weights {
  const kernel = kernels[filter];
  const scale = from / to;
  const stretch = Math.max(1, scale);
  const support = kernel.support * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const start = new Int32Array(wanted);
  const count = new Int32Array(wanted);
  const weight = new Int32Array(wanted * size);
  const exact = new Float64Array(size);
  for (let i = 0; i < wanted; ++i) {
    const centre = (offset + i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let k = 0; k < end - begin; ++k) {
      exact[k] = kernel.at((begin + k - centre + 0.5) / stretch);
      sum += exact[k];
    }
    for (let k = 0; k < end - begin; ++k) {
      const scaled = (exact[k] / sum) * 2 ** precision;
      weight[i * size + k] = Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    }
    start[i] = begin;
    count[i] = end - begin;
  }
  return { start, count, weight, size };
}

function horizontal(image: Pixels, columns: Weights, first: number, last: number): Uint8Array {
  const { channels } = image;
  const width = columns.start.length;
  const out = new Uint8Array((last - first) * width * channels);
  let to = 0;
  for (let y = first; y < last; ++y)
    for (let x = 0; x < width; ++x) {
      const begin = (y * image.width + columns.start[x]) * channels;
      const end = begin + columns.count[x] * channels;
      for (let c = 0; c < channels; ++c) {
        let sum = 1 << (precision - 1);
        let k = x * columns.size;
        for (let i = begin + c; i < end; i += channels)
          sum = (sum + Math.imul(image.data[i], columns.weight[k++])) | 0;
        out[to++] = clip(sum >> precision);
      }
    }
  return out;
}

function vertical(
  wide: Uint8Array,
  rows: Weights,
  first: number,
  { height, stride }: { height: number; stride: number },
): Uint8Array {
  const out = new Uint8Array(height * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; ++y) {
    sums.fill(1 << (precision - 1));
    // Row by row rather than pixel by pixel: memory is read in its order.
    for (let k = 0; k < rows.count[y]; ++k) {
      const weight = rows.weight[y * rows.size + k];
      const from = (rows.start[y] + k - first) * stride;
      for (let i = 0; i < stride; ++i) sums[i] = (sums[i] + Math.imul(wide[from + i], weight)) | 0;
    }
    for (let i = 0; i < stride; ++i) out[y * stride + i] = clip(sums[i] >> precision);
  }
  return out;
}

const clip = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

// Keys' cubic with a = -1/2.
function cubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

const hamming = (x: number): number => 0.54 + 0.46 * Math.cos(Math.PI * x);

function sinc(x: number): number {
  if (x === 0) return 1;
  return Math.sin(Math.PI * x) / (Math.PI * x);
}
