// Pictures as tensors: files in and out, and the grid that shows many at once.
import { extname } from 'node:path';
import sharp from 'sharp';
import { check, checkShape, FileError } from '../errors.js';
import { tensor } from '../creation.js';
import type { Tensor } from '../tensor.js';
import { writeFileAtomic } from './atomic.js';
import { decodeImage, largestPicture, type Pixels, type ReadImageOptions } from './decode_image.js';
import { npyMagic, npySize } from './decode_npy.js';
import { fileError } from './file_error.js';
import { longestNpyHeader } from './npy.js';
import { readBytes, readSmallFile, withFile } from './positional.js';

const formats = { '.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp' } as const;

/**
 * Reads a picture (PNG, JPEG, WebP, AVIF, GIF, TIFF, or a NumPy array of bytes) as float32 [H, W, C] with values
 * in [-1, 1]: a stored byte p becomes p / 127.5 - 1.
 *
 * @throws FileError when the file is missing, damaged or no picture
 */
export async function readImage(path: string, options: ReadImageOptions = {}): Promise<Tensor> {
  const encoded = await readSmallFile(path, largestPicture, 'a picture');
  return imageOf(await decodeImage(encoded, path, options));
}

/** Bytes as {@link readImage} gives them: [H, W, C] in [-1, 1]. */
export function imageOf({ data, width, height, channels }: Pixels): Tensor {
  const pixels = new Float32Array(data.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = data[i] / 127.5 - 1;
  return tensor(pixels, { shape: [height, width, channels] });
}

/**
 * Sides of a picture in pixels, from its header: what {@link readImage} would give, for little work.
 *
 * @throws FileError when the file is missing, damaged or no picture
 */
export async function readImageSize(path: string): Promise<{ height: number; width: number }> {
  return withFile(path, async (file, size) => {
    const begin = await readBytes(path, file, 0, Math.min(size, longestNpyHeader));
    if (npyMagic.test(begin.toString('latin1', 0, 6))) return npySize(begin, path, size);
    try {
      const { autoOrient } = await sharp(path, { failOn: 'error' }).metadata();
      return { height: autoOrient.height, width: autoOrient.width };
    } catch (error) {
      throw new FileError(`cannot be read as a picture: ${(error as Error).message}`, path);
    }
  });
}

/**
 * Writes a picture, atomically; the extension of `path` chooses PNG, JPEG or WebP. Bytes are those of
 * {@link pixelsOf}.
 *
 * @param image [H, W, C] or [1, H, W, C] with C 1 or 3, values in [-1, 1]; NaN becomes black
 */
export async function writeImage(path: string, image: Tensor): Promise<void> {
  const extension = extname(path).toLowerCase();
  check(extension in formats, () => {
    const known = Object.keys(formats).join(', ');
    return `writeImage: cannot write ${JSON.stringify(path)}. Use a name that ends in ${known}.`;
  });
  const { data, width, height, channels } = await pixelsOf(image);
  const format = formats[extension as keyof typeof formats];
  try {
    const raw = { width, height, channels: channels as 1 | 3 };
    const encoded = await sharp(data, { raw }).toFormat(format).toBuffer();
    await writeFileAtomic(path, encoded);
  } catch (error) {
    throw fileError(path, 'cannot be written', error);
  }
}

/**
 * A picture in 8 bits, as a file holds it. Values outside [-1, 1] are clamped, and bytes are truncated, not
 * rounded, as the reference implementation does.
 *
 * @param image [H, W, C] or [1, H, W, C] with C 1 or 3, values in [-1, 1]; NaN becomes black
 */
export async function pixelsOf(image: Tensor): Promise<Pixels> {
  const shape = image.rank === 4 && image.shape[0] === 1 ? image.shape.slice(1) : image.shape;
  checkShape(
    shape.length === 3 && (shape[2] === 1 || shape[2] === 3) && image.numel > 0,
    () => `a picture is [H, W, 1] or [H, W, 3]. Got shape [${image.shape.join(', ')}].`,
  );
  const [height, width, channels] = shape;
  return { data: toBytes((await image.data()) as Float32Array), height, width, channels };
}

function toBytes(values: Float32Array): Uint8Array {
  // float32 leaves p / 127.5 - 1 a little below p for a quarter of all bytes p; without this thousandth
  // of a step, truncation would darken a picture a bit each time it is read and written.
  const tolerance = 2 ** -10;
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = Math.min(255, Math.max(0, (values[i] + 1) * 127.5 + tolerance));
  }
  return bytes;
}

/**
 * Lays out pictures as one, row by row, with a border around each.
 *
 * @param images [N, H, W, C] with C 1 or 3; one channel is repeated to three
 * @param options.nrow pictures per row. Default 8
 * @param options.padding width of the border in pixels. Default 2
 * @param options.padValue value of the border and of missing pictures. Default 0
 * @returns [rows (H + padding) + padding, columns (W + padding) + padding, 3]; a single picture comes
 * back without a border
 */
export async function makeGrid(
  images: Tensor,
  options: { nrow?: number; padding?: number; padValue?: number } = {},
): Promise<Tensor> {
  const { nrow = 8, padding = 2, padValue = 0 } = options;
  check(Number.isInteger(nrow) && nrow >= 1 && Number.isInteger(padding) && padding >= 0, () => {
    return `makeGrid: nrow must be at least 1 and padding at least 0. Got ${nrow} and ${padding}.`;
  });
  checkShape(
    images.rank === 4 && images.numel > 0 && (images.shape[3] === 1 || images.shape[3] === 3),
    () => `makeGrid: images must be [N, H, W, 1 or 3]. Got shape [${images.shape.join(', ')}].`,
  );
  const [count, height, width, channels] = images.shape;
  const source = (await images.data()) as Float32Array;
  const border = count === 1 ? 0 : padding;
  const columns = Math.min(nrow, count);
  const gridHeight = Math.ceil(count / columns) * (height + border) + border;
  const gridWidth = columns * (width + border) + border;
  const grid = new Float32Array(gridHeight * gridWidth * 3).fill(padValue);
  for (let row = 0; row < count * height; row++) {
    const image = Math.floor(row / height);
    const top = Math.floor(image / columns) * (height + border) + border + (row % height);
    const left = (image % columns) * (width + border) + border;
    const target = (top * gridWidth + left) * 3;
    for (let i = 0; i < width * 3; i++) {
      const pixel = channels === 3 ? i : Math.floor(i / 3);
      grid[target + i] = source[row * width * channels + pixel];
    }
  }
  return tensor(grid, { shape: [gridHeight, gridWidth, 3] });
}
