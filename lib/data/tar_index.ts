// The members of a tar archive, from its headers alone (POSIX.1-2001 pax, ustar and GNU).
import type { FileHandle } from 'node:fs/promises';
import { FileError } from '../errors.js';
import { readBytes, withFile } from '../io/positional.js';

/** A regular file inside an archive. */
export interface TarMember {
  readonly name: string;
  /** Position and number of its bytes in the archive. */
  readonly begin: number;
  readonly length: number;
}

const block = 512;
/** What is read around a header: small members behind it need no second read. */
const windowBytes = 8 * block;
/** Names and attributes longer than this are no honest ones. */
const largestExtension = 2 ** 20;

/** Reads on from a position, a window at a time. */
class TarReader {
  private window: Buffer = Buffer.alloc(0);
  private windowBegin = 0;

  constructor(
    readonly path: string,
    private readonly file: FileHandle,
    readonly size: number,
  ) {}

  async read(begin: number, length: number): Promise<Buffer> {
    if (begin + length > this.size)
      throw new FileError('the archive is cut off here.', this.path, begin);
    const inside = begin - this.windowBegin;
    if (inside >= 0 && inside + length <= this.window.length)
      return this.window.subarray(inside, inside + length);
    this.window = await readBytes(
      this.path,
      this.file,
      begin,
      Math.max(length, Math.min(windowBytes, this.size - begin)),
    );
    this.windowBegin = begin;
    return this.window.subarray(0, length);
  }
}

/**
 * Calls `visit` for each regular file of the archive, in order.
 * @param visit gets a function that reads small members; it may be called before `visit` resolves
 * @throws FileError with the byte offset where the archive is damaged or cut off
 */
export function forEachMember(
  path: string,
  visit: (member: TarMember, read: () => Promise<Buffer>) => void | Promise<void>,
): Promise<void> {
  return withFile(path, async (file, size) => {
    const reader = new TarReader(path, file, size);
    let everywhere: Attributes = {};
    let next: Attributes = {};
    for (let at = 0; ;) {
      const header = parseHeader(path, at, await reader.read(at, block));
      if (header === null) return;
      const begin = at + block;
      const attributes = { ...everywhere, ...next };
      const length = header.isPlain ? (attributes.size ?? header.size) : header.size;
      if (length > size - begin) {
        const text = `a member claims ${length} bytes, but the archive has ${size - begin} more.`;
        throw new FileError(`${text} It is cut off or damaged.`, path, at);
      }
      const read = () => reader.read(begin, length);
      if (header.isPlain) {
        await visit({ name: attributes.name ?? header.name, begin, length }, read);
        next = {};
      } else if (extensionTypes.includes(header.type)) {
        if (length > largestExtension)
          throw new FileError(`${length} bytes are too many for a header.`, path, at);
        const bytes = await read();
        if (header.type === 'L') next = { ...next, name: text(bytes) };
        if (header.type === 'x') next = { ...next, ...parseAttributes(path, begin, bytes) };
        if (header.type === 'g')
          everywhere = { ...everywhere, ...parseAttributes(path, begin, bytes) };
      } else next = {};
      at = begin + Math.ceil(length / block) * block;
    }
  });
}

/** Long names (L, and K for links' targets) and pax attributes for the next member or all (x, g). */
const extensionTypes = 'LKxg';
/** Links, devices, folders and pipes have no bytes, whatever their size field says. */
const emptyTypes = '123456';

interface TarHeader {
  name: string;
  type: string;
  size: number;
  isPlain: boolean;
}

// null for the block of zeros that ends an archive.
function parseHeader(path: string, at: number, bytes: Buffer): TarHeader | null {
  if (bytes.every((byte) => byte === 0)) return null;
  const checksum = octal(bytes, 148, 8);
  let sum = 0;
  bytes.forEach((byte, i) => (sum += i >= 148 && i < 156 ? 0x20 : byte));
  if (checksum !== sum)
    throw new FileError(
      'this is no tar header: its checksum is wrong. Unpack compressed archives first.',
      path,
      at,
    );
  const type = String.fromCharCode(bytes[156] || 0x30);
  if (type === 'S') throw new FileError('sparse members are not supported.', path, at);
  const size = emptyTypes.includes(type) ? 0 : sizeField(bytes);
  if (size === null) throw new FileError("a member's size is no number.", path, at);
  // GNU keeps other things where ustar has the start of a long name.
  const prefix = bytes.toString('latin1', 257, 263) === 'ustar\0' ? text(bytes, 345, 500) : '';
  const name = text(bytes, 0, 100);
  const isPlain = type === '0' || type === '7';
  return { name: prefix === '' ? name : `${prefix}/${name}`, type, size, isPlain };
}

// Octal digits, or with the highest bit set a big-endian number.
function sizeField(bytes: Buffer): number | null {
  if ((bytes[124] & 0x80) === 0) return octal(bytes, 124, 12);
  if (bytes[124] !== 0x80 || bytes.readUInt32BE(125) >>> 8 !== 0) return null;
  const size = bytes.readBigUInt64BE(128);
  return size <= Number.MAX_SAFE_INTEGER ? Number(size) : null;
}

function octal(bytes: Buffer, begin: number, length: number): number | null {
  const digits = text(bytes, begin, begin + length).trim();
  return /^[0-7]*$/.test(digits) ? parseInt(digits || '0', 8) : null;
}

// Up to the first zero byte.
function text(bytes: Buffer, begin = 0, end = bytes.length): string {
  const zero = bytes.indexOf(0, begin);
  return bytes.toString('utf8', begin, zero >= 0 && zero < end ? zero : end);
}

interface Attributes {
  name?: string;
  size?: number;
}

// Records "LENGTH KEY=VALUE\n", where LENGTH counts the whole record.
function parseAttributes(path: string, offset: number, bytes: Buffer): Attributes {
  const found: Attributes = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString('latin1', at, space < 0 ? at : space));
    const end = at + length;
    const equals = bytes.indexOf(0x3d, space);
    const sound =
      space > at && Number.isInteger(length) && end <= bytes.length && bytes[end - 1] === 0x0a;
    if (!sound || equals < space || equals >= end)
      throw new FileError('a pax attribute is damaged.', path, offset + at);
    const key = bytes.toString('utf8', space + 1, equals);
    const value = bytes.toString('utf8', equals + 1, end - 1);
    if (key === 'path') found.name = value;
    if (key === 'size') {
      if (!/^\d{1,15}$/.test(value))
        throw new FileError('a pax size is no number.', path, offset + at);
      found.size = Number(value);
    }
    at = end;
  }
  return found;
}
