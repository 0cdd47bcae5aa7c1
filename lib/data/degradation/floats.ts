// Pictures of real numbers in [0, 1], which degradations pass from step to step.
import type { Pixels } from '../pixels.js';

/** Rows of interleaved values from the top, [height, width, channels]; black is 0, white 1. */
export interface FloatImage {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** Bytes divided by 255. */
export function toFloats({ data, ...size }: Pixels): FloatImage {
  const floats = new Float32Array(data.length);
  for (let i = 0; i < floats.length; ++i) floats[i] = data[i] / 255;
  return { data: floats, ...size };
}

/** Beside this number float32 has no room for a fraction: adding it rounds, halves to the even neighbour. */
const rounding = 1.5 * 2 ** 23;

/** Clipped to [0, 1], times 255, to the nearest byte. */
export function toBytes({ data, ...size }: FloatImage): Pixels {
  const bytes = new Uint8Array(data.length);
  for (let i = 0; i < bytes.length; ++i) {
    const level = Math.fround(clipped(data[i]) * 255);
    bytes[i] = Math.fround(level + rounding) - rounding;
  }
  return { data: bytes, ...size };
}

/** Clips to [0, 1] in place: for values that only the caller has seen. */
export function clip(image: FloatImage): FloatImage {
  const { data } = image;
  for (let i = 0; i < data.length; ++i) data[i] = clipped(data[i]);
  return image;
}

const clipped = (value: number): number => (value < 0 ? 0 : value > 1 ? 1 : value);
