// A PNG's stored values, one a pixel: palette indices and small greys as they are. Decoders of pictures, sharp
// among them, give the palette's colours instead, and stretch greys of less than eight bits.
import { promisify } from 'node:util';
import { crc32, inflate } from 'node:zlib';
import { FileError } from '../errors.js';
import type { Pixels } from './decode_image.js';

const signature = Buffer.from('89504e470d0a1a0a', 'hex');
const inflated = promisify(inflate);

const kinds: Readonly<Record<number, string>> = {
  0: 'grey',
  2: 'colour',
  3: 'palette',
  4: 'grey with transparency',
  6: 'colour with transparency',
};

/**
 * Decodes a PNG of grey or palette pixels of up to eight bits into rows of stored values from the top.
 *
 * @param path what errors call the file
 * @param options.maxPixels maps of more pixels are refused before they are decoded, default 100 million
 * @throws FileError when it is damaged, too large, no PNG, or one whose pixels are no single numbers
 */
export async function decodeLabels(
  encoded: Uint8Array,
  path: string,
  { maxPixels = 1e8 }: { maxPixels?: number } = {},
): Promise<Pixels> {
  const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const { header, packed } = readChunks(bytes, path);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth, kind, , , interlaced] = header.subarray(8);
  if (width === 0 || height === 0 || width * height > maxPixels)
    throw new FileError(
      `a label map of ${width} x ${height} pixels is empty or above ${maxPixels} (maxPixels).`,
      path,
    );
  if ((kind !== 0 && kind !== 3) || ![1, 2, 4, 8].includes(depth))
    throw new FileError(
      `a label map has one byte or palette index per pixel; this PNG is ${kinds[kind] ?? 'unknown'} of ${depth} ` +
        'bits. Where colours stand for labels, say so with a colour map.',
      path,
    );
  if (interlaced !== 0)
    throw new FileError('an interlaced PNG is not read as a label map; save it without.', path);
  const stride = Math.ceil((width * depth) / 8);
  const length = (stride + 1) * height;
  let rows: Buffer;
  try {
    rows = await inflated(packed, { maxOutputLength: length });
  } catch (error) {
    throw new FileError(`the PNG's pixels are damaged: ${(error as Error).message}.`, path);
  }
  if (rows.length !== length)
    throw new FileError(
      `the PNG is damaged: ${rows.length} bytes of pixels instead of ${length}.`,
      path,
    );
  const data = unpack(unfilter(rows, stride, path), { width, height, depth, stride });
  return { data, width, height, channels: 1 };
}

function readChunks(bytes: Buffer, path: string): { header: Buffer; packed: Buffer } {
  if (bytes.length < 8 || signature.compare(bytes, 0, 8) !== 0)
    throw new FileError(
      'a label map must be a PNG, which keeps every value; this file is none.',
      path,
    );
  let header: Buffer | undefined;
  const parts: Buffer[] = [];
  for (let at = 8; ;) {
    const length = at + 12 <= bytes.length ? bytes.readUInt32BE(at) : Infinity;
    const end = at + 12 + length;
    if (end > bytes.length) throw new FileError('the PNG ends too early.', path, at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const data = bytes.subarray(at + 8, end - 4);
    if (crc32(bytes.subarray(at + 4, end - 4)) !== bytes.readUInt32BE(end - 4))
      throw new FileError(`the PNG's part ${JSON.stringify(type)} is damaged.`, path, at);
    if (at === 8) {
      if (type !== 'IHDR' || length !== 13)
        throw new FileError('the PNG does not begin with its sizes.', path, at);
      header = data;
    } else if (type === 'IDAT') parts.push(data);
    else if (type === 'IEND') return { header: header!, packed: Buffer.concat(parts) };
    at = end;
  }
}

// Pixels take at most a byte, so that the neighbour to the left is always one byte away (PNG, section 9).
function unfilter(rows: Buffer, stride: number, path: string): Uint8Array {
  const height = rows.length / (stride + 1);
  const data = new Uint8Array(stride * height);
  for (let y = 0; y < height; ++y) {
    const from = y * (stride + 1);
    const filter = rows[from];
    if (filter > 4)
      throw new FileError(`the PNG is damaged: row ${y} has the unknown filter ${filter}.`, path);
    const to = y * stride;
    for (let x = 0; x < stride; ++x) {
      const left = x > 0 ? data[to + x - 1] : 0;
      const up = y > 0 ? data[to - stride + x] : 0;
      const corner = x > 0 && y > 0 ? data[to - stride + x - 1] : 0;
      data[to + x] = rows[from + 1 + x] + predicted(filter, left, up, corner);
    }
  }
  return data;
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const [a, b] = [Math.abs(up - corner), Math.abs(left - corner)];
  const c = Math.abs(left + up - 2 * corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

interface Packing {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly stride: number;
}

// Of several pixels in a byte the first is in the highest bits.
function unpack(data: Uint8Array, { width, height, depth, stride }: Packing): Uint8Array {
  if (depth === 8) return data;
  const values = new Uint8Array(width * height);
  const perByte = 8 / depth;
  for (let y = 0, to = 0; y < height; ++y)
    for (let x = 0; x < width; ++x) {
      const byte = data[y * stride + Math.floor(x / perByte)];
      values[to++] = (byte >> (8 - depth * ((x % perByte) + 1))) & (2 ** depth - 1);
    }
  return values;
}
