// Pictures as NumPy arrays: how CelebA-HQ's files hold them.
import { FileError } from '../errors.js';
import type { Pixels } from './decode_image.js';
import { parseNpy, parseNpyHeader, type NpyHeader } from './npy.js';

const entry = 'the array';

/** What a .npy file begins with. */
export const npyMagic = /^\x93NUMPY/;

/**
 * The picture in a .npy file: uint8 of [H, W, 3], [3, H, W] or [1, 3, H, W], the first of these that fits.
 *
 * @param bytes the whole file
 * @param path what errors call the file
 * @param maxPixels pictures of more are refused
 * @throws FileError when it is damaged, cut off, too large, or holds anything else
 */
export function decodeNpy(bytes: Uint8Array, path: string, maxPixels: number): Pixels {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { width, height, channelsLast } = layoutOf(
    parseNpyHeader(path, entry, file, file.byteLength),
    path,
  );
  if (width * height > maxPixels)
    throw new FileError(
      `cannot be read as a picture: it has ${width} x ${height} pixels, above the limit of ${maxPixels} (maxPixels).`,
      path,
    );
  const stored = parseNpy(path, entry, file).data as Uint8Array;
  const data = channelsLast ? stored : interleaved(stored, width * height);
  return { data, width, height, channels: 3 };
}

/**
 * The sides of the picture in a .npy file.
 *
 * @param begin the file's first bytes, its header among them
 * @param size of the whole file, in bytes
 * @throws FileError as {@link decodeNpy}
 */
export function npySize(
  begin: Buffer,
  path: string,
  size: number,
): { height: number; width: number } {
  const { height, width } = layoutOf(parseNpyHeader(path, entry, begin, size), path);
  return { height, width };
}

function layoutOf({ dtype, shape }: NpyHeader, path: string) {
  const planes = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape;
  const isPicture = dtype === 'uint8' && planes.length === 3 && !planes.includes(0);
  if (isPicture && shape.length === 3 && shape[2] === 3)
    return { height: shape[0], width: shape[1], channelsLast: true };
  if (isPicture && planes[0] === 3)
    return { height: planes[1], width: planes[2], channelsLast: false };
  throw new FileError(
    'cannot be read as a picture: an array must be uint8 of [H, W, 3], [3, H, W] or [1, 3, H, W]. ' +
      `Got ${dtype} of [${shape.join(', ')}].`,
    path,
  );
}

// [3, pixels] → [pixels, 3]
function interleaved(planes: Uint8Array, pixels: number): Uint8Array {
  const data = new Uint8Array(planes.length);
  for (let channel = 0; channel < 3; ++channel)
    for (let i = 0; i < pixels; ++i) data[3 * i + channel] = planes[channel * pixels + i];
  return data;
}
