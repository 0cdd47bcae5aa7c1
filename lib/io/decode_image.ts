// A picture file's bytes as pixels, by sharp. It knows no tensor, so that worker threads can use it.
import sharp from 'sharp';
import { ArgumentError, FileError } from '../errors.js';
import { decodeNpy, npyMagic } from './decode_npy.js';

/** A picture as rows of interleaved bytes from the top, [height, width, channels]. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** How a file becomes pixels. */
export interface ReadImageOptions {
  /** 3 for colour, 1 for grey. Default 3. */
  channels?: 1 | 3;
  /** The colour that shows through transparent pixels, as in CSS. Default: alpha is dropped. */
  background?: string;
  /**
   * Whether to turn the picture as its EXIF orientation says. Default true. The original reads pixels as they
   * are stored.
   */
  orient?: boolean;
  /** Pictures of more pixels are refused before they are decoded. Default 100 million. */
  maxPixels?: number;
}

/** The formats that are read, each with its names' endings in lower case and what its files begin with. */
const formats: readonly { name: string; endings: string[]; begins: RegExp }[] = [
  { name: 'PNG', endings: ['.png'], begins: /^\x89PNG/ },
  { name: 'JPEG', endings: ['.jpg', '.jpeg'], begins: /^\xff\xd8\xff/ },
  { name: 'WebP', endings: ['.webp'], begins: /^RIFF.{4}WEBP/s },
  { name: 'AVIF', endings: ['.avif'], begins: /^.{4}ftyp/s },
  { name: 'GIF', endings: ['.gif'], begins: /^GIF8/ },
  { name: 'TIFF', endings: ['.tif', '.tiff'], begins: /^(II[*+]|MM.[*+])/s },
  { name: 'NumPy arrays', endings: ['.npy'], begins: npyMagic },
];

/** What counts as a picture, by the end of its name in lower case. */
export const imageExtensions: ReadonlySet<string> = new Set(
  formats.flatMap(({ endings }) => endings),
);

/** A picture's file beyond this is refused; it would not be one. */
export const largestPicture = 2 ** 30;

/**
 * Decodes PNG, JPEG, WebP, AVIF, GIF, TIFF or a NumPy array into rows of interleaved bytes. Sixteen bits become
 * eight, CMYK becomes RGB, and of an animation the first picture is taken.
 *
 * @param encoded the file's bytes
 * @param path what errors call the file
 * @throws FileError when it is damaged, too large or no picture
 * @throws ArgumentError when `background` is no colour
 */
export async function decodeImage(
  encoded: Uint8Array,
  path: string,
  options: ReadImageOptions = {},
): Promise<Pixels> {
  const { channels = 3, background, orient = true, maxPixels = 1e8 } = options;
  if (background !== undefined) checkColour(background);
  // sharp also draws SVG, of which a few bytes can take hours.
  const begin = Buffer.from(encoded.subarray(0, 12)).toString('latin1');
  if (!formats.some(({ begins }) => begins.test(begin))) {
    const known = formats.map(({ name }) => name).join(', ');
    throw new FileError(`cannot be read as a picture: it is none of ${known}.`, path);
  }
  let decoded;
  const array = npyMagic.test(begin) ? decodeNpy(encoded, path, maxPixels) : undefined;
  try {
    let image = array
      ? sharp(array.data, { raw: { width: array.width, height: array.height, channels: 3 } })
      : sharp(encoded, { failOn: 'error', limitInputPixels: maxPixels });
    if (orient) image = image.autoOrient();
    image = background === undefined ? image.removeAlpha() : image.flatten({ background });
    image = image.toColourspace(channels === 1 ? 'b-w' : 'srgb');
    decoded = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  } catch (error) {
    const [message] = (error as Error).message.split('\n');
    const limit = /pixel limit/.test(message) ? ` of ${maxPixels} (maxPixels)` : '';
    throw new FileError(`cannot be read as a picture: ${message}${limit}.`, path);
  }
  const { data, info } = decoded;
  if (info.channels !== channels) {
    const text = `its colours became ${info.channels} channels instead of ${channels}.`;
    throw new FileError(text, path);
  }
  return { data, width: info.width, height: info.height, channels };
}

/** @throws ArgumentError when the text names no colour */
export function checkColour(background: string): void {
  try {
    sharp({ create: { width: 1, height: 1, channels: 3, background } });
  } catch {
    throw new ArgumentError(
      `background: ${JSON.stringify(background)} is no colour; write one as in CSS, such as 'white' or '#808080'.`,
    );
  }
}
