// Label maps: what each pixel of a picture belongs to, as one byte.
import { check, FileError } from '../errors.js';
import { decodeImage } from '../io/decode_image.js';
import { decodeLabels } from '../io/decode_labels.js';
import { parseJson } from '../io/json.js';
import { readSmallFile } from '../io/positional.js';
import type { ImageSource } from './dataset.js';
import { readPart } from './file_bytes.js';
import type { Pixels } from './pixels.js';
import type { Region } from './transform.js';

/** Labels by colour: red, green and blue as one number, 0xrrggbb. */
export type ColourMap = ReadonlyMap<number, number>;

export interface LabelMapOptions {
  /** What the colours of maps mean that are stored as colours. Default: maps hold labels themselves. */
  colours?: ColourMap;
  /** Maps of more pixels are refused. Default 100 million. */
  maxPixels?: number;
}

/**
 * The labels of a map, [height, width, 1]: the bytes of a grey PNG, the indices of a palette PNG, or what
 * the colours of a picture stand for.
 *
 * @param path what errors call the map
 * @throws FileError when it is damaged, is no map, or has a colour that stands for nothing
 */
export async function loadLabelMap(
  source: ImageSource,
  path: string,
  options: LabelMapOptions = {},
): Promise<Pixels> {
  const { colours, maxPixels } = options;
  if ('pixels' in source) {
    const { data, width, height, channels } = source.pixels;
    check(channels === 1 && data.length === width * height, () => {
      return `${path}: a label map of ${width} x ${height} has as many bytes. Got ${data.length} of ${channels} channels.`;
    });
    return source.pixels;
  }
  const bytes =
    'encoded' in source ? source.encoded : await readPart(source.file, source.begin, source.length);
  if (!colours) return decodeLabels(bytes, path, { maxPixels });
  // colours that were rounded by a JPEG would be other colours
  if (!isLossless(bytes))
    throw new FileError('a map of colours must be a PNG, which keeps every colour.', path);
  return toLabels(await decodeImage(bytes, path, { orient: false, maxPixels }), colours, path);
}

function toLabels({ data, width, height }: Pixels, colours: ColourMap, path: string): Pixels {
  const labels = new Uint8Array(width * height);
  for (let i = 0; i < labels.length; ++i) {
    const colour = (data[3 * i] << 16) | (data[3 * i + 1] << 8) | data[3 * i + 2];
    const label = colours.get(colour);
    if (label === undefined) {
      const place = `(${i % width}, ${Math.floor(i / width)})`;
      throw new FileError(
        `the colour ${hex(colour)} at ${place} stands for no label; add it to the colour map.`,
        path,
      );
    }
    labels[i] = label;
  }
  return { data: labels, width, height, channels: 1 };
}

const isLossless = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.subarray(0, 4)).toString('latin1') === '\x89PNG';
const hex = (colour: number): string => `#${colour.toString(16).padStart(6, '0')}`;

/**
 * The labels of a part of a map, of another size: for each pixel the one at ⌊place · scale⌋, as OpenCV's nearest.
 */
export function cutLabels(
  map: Pixels,
  { x, y, width, height, mirrored }: Omit<Region, 'sourceWidth' | 'sourceHeight'>,
  [rows, columns]: readonly [number, number],
): Uint8Array {
  // The thousandth keeps whole numbers from falling below themselves.
  const along = (from: number, extent: number, i: number, count: number, most: number) =>
    Math.min(most - 1, Math.floor(from + (i * extent) / count + 1e-3));
  const places = Array.from({ length: columns }, (_, i) => {
    return along(x, width, mirrored ? columns - 1 - i : i, columns, map.width);
  });
  const cut = new Uint8Array(rows * columns);
  for (let row = 0, to = 0; row < rows; ++row) {
    const from = along(y, height, row, rows, map.height) * map.width;
    for (const place of places) cut[to++] = map.data[from + place];
  }
  return cut;
}

const largestColourMap = 2 ** 20;

/**
 * Reads a colour map: a JSON object of labels by colour, `{ "#87ceeb": 0, "#228b22": 1 }`.
 *
 * @throws FileError when it is no such object, or a label is no whole number from 0 to 255
 */
export async function readColourMap(path: string): Promise<ColourMap> {
  const text = (await readSmallFile(path, largestColourMap, 'a colour map')).toString();
  const stored = parseJson(text, path);
  const shape = 'a colour map is an object such as { "#87ceeb": 0, "#228b22": 1 }';
  if (typeof stored !== 'object' || stored === null || Array.isArray(stored))
    throw new FileError(`${shape}.`, path);
  const colours = new Map<number, number>();
  for (const [colour, label] of Object.entries(stored)) {
    if (!/^#[0-9a-f]{6}$/i.test(colour))
      throw new FileError(`${JSON.stringify(colour)} is no colour; ${shape}.`, path);
    if (!Number.isInteger(label) || label < 0 || label > 255)
      throw new FileError(
        `${colour} must stand for a label from 0 to 255, got ${JSON.stringify(label)}.`,
        path,
      );
    colours.set(parseInt(colour.slice(1), 16), label as number);
  }
  if (colours.size === 0) throw new FileError(`it names no colour; ${shape}.`, path);
  return colours;
}
