// What happens to one picture, in whichever thread: read, decode, transform.
import { check } from '../errors.js';
import { decodeImage } from '../io/decode_image.js';
import type { ImageSource } from './dataset.js';
import { readPart } from './file_bytes.js';
import type { Pixels } from './pixels.js';
import { transformPixels, type Draws, type Square, type TransformOptions } from './transform.js';

/** One picture's work, as plain data. */
export interface Job {
  readonly path: string;
  readonly source: ImageSource;
  readonly draws: Draws;
}

/**
 * The square that a model sees, of [size, size, channels] bytes.
 * @throws FileError when it cannot be read, is damaged, or too small or large
 * @throws ArgumentError when decoded pixels are not what they claim
 */
export async function preparePicture(
  { path, source, draws }: Job,
  transform: TransformOptions,
): Promise<Square> {
  const image = await load(source, path, transform);
  return transformPixels(image, transform, draws, path);
}

async function load(
  source: ImageSource,
  path: string,
  transform: TransformOptions,
): Promise<Pixels> {
  if ('pixels' in source) {
    const { data, width, height, channels } = source.pixels;
    const wanted = transform.channels ?? 3;
    check(channels === wanted && data.length === width * height * channels, () => {
      return (
        `${path}: expected ${width} x ${height} x ${wanted} bytes, as the transform's channels say. ` +
        `Got ${data.length} bytes of ${channels} channels.`
      );
    });
    return source.pixels;
  }
  if ('encoded' in source) return decodeImage(source.encoded, path, transform);
  const { file, begin, length } = source;
  return decodeImage(await readPart(file, begin, length), path, transform);
}
