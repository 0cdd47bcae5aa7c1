// Cutting and mirroring pictures that are not tensors yet.
import type { Pixels } from '../io/decode_image.js';

export type { Pixels };

/** A rectangle of a picture. */
export interface Window {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** A copy of the rectangle, which lies inside the picture. */
export function crop(image: Pixels, { top, left, height, width }: Window): Pixels {
  if (height === image.height && width === image.width) return image;
  const { channels } = image;
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; ++y) {
    const from = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { data, width, height, channels };
}

/** The picture with left and right exchanged. */
export function mirror({ data, width, height, channels }: Pixels): Pixels {
  const mirrored = new Uint8Array(data.length);
  for (let y = 0, to = 0; y < height; ++y)
    for (let x = width - 1; x >= 0; --x)
      for (let c = 0; c < channels; ++c) mirrored[to++] = data[(y * width + x) * channels + c];
  return { data: mirrored, width, height, channels };
}

/** The bytes in a buffer of their own: between threads, a view takes the whole buffer under it along. */
export function apart(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : Uint8Array.from(bytes);
}
