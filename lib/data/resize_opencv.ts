// OpenCV's resizing of 8-bit pictures: `linear` looks at two source pixels per axis however much the picture
// shrinks (no antialiasing, weights of 11 bits), `area` averages exact boxes.
import { roundHalfToEven } from '../rounding.js';
import type { Pixels, Window } from './pixels.js';

const linearBits = 11;

/** As cv2.resize with INTER_LINEAR; of the height x width result the pixels inside `window` come back. */
export function resizeLinear(image: Pixels, height: number, width: number, window: Window): Pixels {
  // OpenCV does halving by boxes, which are then the same thing without its rounding between the passes.
  if (image.height === 2 * height && image.width === 2 * width)
    return resizeArea(image, height, width, window);
  return interpolate(image, window, {
    columns: taps(image.width, window.left, window.width, linearPlace(image.width, width)),
    rows: taps(image.height, window.top, window.height, linearPlace(image.height, height)),
  });
}

/** As cv2.resize with INTER_AREA, which enlarges by a kind of linear interpolation. */
export function resizeArea(image: Pixels, height: number, width: number, window: Window): Pixels {
  const { channels } = image;
  if (image.height < height || image.width < width)
    return interpolate(image, window, {
      columns: taps(image.width, window.left, window.width, enlargingPlace(image.width, width)),
      rows: taps(image.height, window.top, window.height, enlargingPlace(image.height, height)),
    });
  const columns = boxes(image.width, width, window.left, window.width);
  const rows = boxes(image.height, height, window.top, window.height);
  // Boxes of whole pixels are summed as integers and divided once.
  const whole = image.height % height === 0 && image.width % width === 0;
  if (whole) for (const { weight } of [columns, rows]) weight.fill(1);
  const halved = image.height === 2 * height && image.width === 2 * width;
  const share = whole ? Math.fround((height / image.height) * (width / image.width)) : 1;

  const stride = window.width * channels;
  const data = new Uint8Array(window.height * stride);
  const wide = new Float32Array(stride);
  const sums = new Float32Array(stride);
  let held = -1;
  for (let y = 0; y < window.height; ++y) {
    sums.fill(0);
    for (let k = 0; k < rows.count[y]; ++k) {
      const row = rows.start[y] + k;
      if (row !== held) sumBoxes(image, row, columns, wide);
      held = row;
      const weight = rows.weight[y * rows.size + k];
      for (let i = 0; i < stride; ++i) sums[i] += Math.fround(wide[i] * weight);
    }
    // Here alone halves go up: OpenCV has an integer form of its own for this case.
    for (let i = 0; i < stride; ++i)
      data[y * stride + i] = halved
        ? (sums[i] + 2) >> 2
        : roundHalfToEven(Math.fround(sums[i] * share));
  }
  return { data, width: window.width, height: window.height, channels };
}

// One source row after the horizontal pass.
function sumBoxes(image: Pixels, row: number, columns: Boxes, wide: Float32Array): void {
  const { data, channels } = image;
  const width = columns.start.length;
  for (let x = 0, to = 0; x < width; ++x) {
    const begin = (row * image.width + columns.start[x]) * channels;
    const end = begin + columns.count[x] * channels;
    for (let c = 0; c < channels; ++c) {
      let sum = 0;
      let k = x * columns.size;
      for (let i = begin + c; i < end; i += channels)
        sum = Math.fround(sum + Math.fround(data[i] * columns.weight[k++]));
      wide[to++] = sum;
    }
  }
}

/** Two source positions and integer weights for each output position. */
interface Taps {
  near: Int32Array;
  far: Int32Array;
  nearWeight: Int32Array;
  farWeight: Int32Array;
}

/** Between which two source pixels an output pixel lies: the first of them, and how far it is from there. */
type Place = (i: number) => { position: number; fraction: number };

function taps(from: number, offset: number, wanted: number, place: Place): Taps {
  const made: Taps = {
    near: new Int32Array(wanted),
    far: new Int32Array(wanted),
    nearWeight: new Int32Array(wanted),
    farWeight: new Int32Array(wanted),
  };
  const one = 2 ** linearBits;
  for (let i = 0; i < wanted; ++i) {
    const { position, fraction } = place(offset + i);
    made.near[i] = Math.min(Math.max(position, 0), from - 1);
    made.far[i] = Math.min(Math.max(position + 1, 0), from - 1);
    made.nearWeight[i] = roundHalfToEven(Math.fround(1 - fraction) * one);
    made.farWeight[i] = roundHalfToEven(fraction * one);
  }
  return made;
}

/** @internal Half-pixel centres; positions in float32. */
export function linearPlace(from: number, to: number): Place {
  const scale = scaleOf(from, to);
  return (i) => {
    const centre = Math.fround((i + 0.5) * scale - 0.5);
    const position = Math.floor(centre);
    return { position, fraction: Math.fround(centre - position) };
  };
}

/** @internal Pixels are flat squares: only where an output square crosses an edge are two of them mixed. */
export function enlargingPlace(from: number, to: number): Place {
  const scale = scaleOf(from, to);
  return (i) => {
    const position = Math.floor(i * scale);
    const beyond = Math.fround(i + 1 - (position + 1) * (to / from));
    return { position, fraction: beyond <= 0 ? 0 : Math.fround(beyond - Math.floor(beyond)) };
  };
}

function interpolate(
  image: Pixels,
  window: Window,
  { columns, rows }: { columns: Taps; rows: Taps },
): Pixels {
  const { data: source, channels } = image;
  const stride = window.width * channels;
  const data = new Uint8Array(window.height * stride);
  // Source rows after the horizontal pass, by their number; neighbouring output rows share them.
  let near = { row: -1, values: new Int32Array(stride) };
  let far = { row: -1, values: new Int32Array(stride) };
  const fill = (line: typeof near, row: number): void => {
    line.row = row;
    const begin = row * image.width;
    for (let x = 0, to = 0; x < window.width; ++x) {
      const a = (begin + columns.near[x]) * channels;
      const b = (begin + columns.far[x]) * channels;
      const [p, q] = [columns.nearWeight[x], columns.farWeight[x]];
      for (let c = 0; c < channels; ++c) line.values[to++] = source[a + c] * p + source[b + c] * q;
    }
  };
  for (let y = 0; y < window.height; ++y) {
    if (near.row !== rows.near[y] && far.row === rows.near[y]) [near, far] = [far, near];
    if (near.row !== rows.near[y]) fill(near, rows.near[y]);
    if (far.row !== rows.far[y]) fill(far, rows.far[y]);
    const [p, q] = [rows.nearWeight[y], rows.farWeight[y]];
    // The shifts are OpenCV's: 4 bits before, 16 after, 2 with rounding at the end.
    for (let i = 0; i < stride; ++i)
      data[y * stride + i] =
        (((p * (near.values[i] >> 4)) >> 16) + ((q * (far.values[i] >> 4)) >> 16) + 2) >> 2;
  }
  return { data, width: window.width, height: window.height, channels };
}

/** The run of source pixels that each output pixel covers, with the share of each. */
interface Boxes {
  start: Int32Array;
  count: Int32Array;
  /** `size` places for each output pixel. */
  weight: Float32Array;
  size: number;
}

/** @internal Of the pixels from `offset` on. */
export function boxes(from: number, to: number, offset: number, wanted: number): Boxes {
  const scale = scaleOf(from, to);
  // Slivers below a thousandth of a pixel are left out.
  const sliver = 1e-3;
  const size = Math.ceil(scale) + 1;
  const start = new Int32Array(wanted);
  const count = new Int32Array(wanted);
  const weight = new Float32Array(wanted * size);
  for (let i = 0; i < wanted; ++i) {
    const begin = (offset + i) * scale;
    const end = begin + scale;
    const cell = Math.min(scale, from - begin);
    const lastWhole = Math.min(Math.floor(end), from - 1);
    const firstWhole = Math.min(Math.ceil(begin), lastWhole);
    const add = (share: number) => (weight[i * size + count[i]++] = share / cell);
    start[i] = firstWhole;
    if (firstWhole - begin > sliver) {
      start[i] = firstWhole - 1;
      add(firstWhole - begin);
    }
    for (let at = firstWhole; at < lastWhole; ++at) add(1);
    if (end - lastWhole > sliver) add(Math.min(end - lastWhole, 1, cell));
  }
  return { start, count, weight, size };
}

// Rounded twice, as OpenCV has it: floor(12 / 34 * 17) depends on that.
const scaleOf = (from: number, to: number): number => 1 / (to / from);
