// One array of a .npz file, a few rows at a time: fifty thousand pictures need not fit into memory.
import type { FileHandle } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { crc32, createInflateRaw } from 'node:zlib';
import { dtypeInfo } from '../dtype.js';
import { FileError } from '../errors.js';
import { longestNpyHeader, parseNpyHeader, type NpyHeader } from './npy.js';
import { readChunks, withFile } from './positional.js';
import { contentOf, readZipDirectory, verifyChecksum, type ZipEntry } from './zip.js';

const extension = '.npy';

/**
 * What the arrays of a .npz file are, by name, without their elements. Entries that are no arrays are left out.
 * @throws FileError when the archive or a header is damaged, or the elements are no plain numbers
 */
export async function describeNpz(
  path: string,
): Promise<Map<string, Pick<NpyHeader, 'shape' | 'dtype'>>> {
  return withFile(path, async (file, size) => {
    const found = new Map<string, NpyHeader>();
    for (const entry of (await readZipDirectory(path, file, size)).values()) {
      if (!entry.name.endsWith(extension)) continue;
      const content = new Content(path, file, entry);
      found.set(entry.name.slice(0, -extension.length), await content.header());
      await content.close();
    }
    return found;
  });
}

/**
 * Reads the rows (entries of the first axis) of an array in order, `rows` at a time, each group as its bytes in
 * a buffer of its own. The checksum is compared behind the last row.
 *
 * @throws FileError when there is no such array, or it is empty, damaged, column-major or big-endian
 */
export async function visitNpzRows(
  path: string,
  name: string,
  rows: number,
  visit: (bytes: Uint8Array, firstRow: number) => Promise<void>,
): Promise<void> {
  await withFile(path, async (file, size) => {
    const entry = (await readZipDirectory(path, file, size)).get(name + extension);
    if (!entry) throw new FileError(`there is no array ${name}.`, path);
    const content = new Content(path, file, entry);
    try {
      const { shape, dtype, swapped, columnMajor } = await content.header();
      if (swapped || columnMajor) {
        const kind = swapped ? 'big-endian' : 'column-major';
        throw new FileError(`${name} is ${kind}: save it again by np.ascontiguousarray.`, path);
      }
      const [count, ...item] = shape;
      const rowBytes = item.reduce((a, b) => a * b, dtypeInfo(dtype).bytes);
      if (rowBytes === 0 || count === 0) throw new FileError(`${name} is empty.`, path);
      for (let row = 0; row < count; row += rows)
        await visit(await content.read(Math.min(rows, count - row) * rowBytes), row);
      await content.end();
    } finally {
      await content.close();
    }
  });
}

/** The unpacked bytes of an entry, from the first to the last. */
class Content {
  readonly #chunks: AsyncGenerator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  #crc = 0;

  constructor(
    private readonly path: string,
    file: FileHandle,
    private readonly entry: ZipEntry,
  ) {
    this.#chunks = unpacked(path, file, entry);
  }

  /** The header; what is read next are the elements. */
  async header(): Promise<NpyHeader> {
    const parts: Buffer[] = [];
    let bytes = 0;
    while (bytes < Math.min(longestNpyHeader, this.entry.size)) {
      const chunk = await this.#next();
      parts.push(chunk);
      bytes += chunk.byteLength;
    }
    const begin = Buffer.concat(parts);
    const header = parseNpyHeader(this.path, this.entry.name, begin, this.entry.size);
    this.#held = begin.subarray(header.length);
    return header;
  }

  async read(bytes: number): Promise<Uint8Array> {
    const result = new Uint8Array(bytes);
    for (let filled = 0; filled < bytes;) {
      if (this.#held.byteLength === 0) this.#held = await this.#next();
      const taken = this.#held.subarray(0, bytes - filled);
      result.set(taken, filled);
      filled += taken.byteLength;
      this.#held = this.#held.subarray(taken.byteLength);
    }
    return result;
  }

  /** Sees to it that nothing follows, and that all was as it was written. */
  async end(): Promise<void> {
    if (this.#held.byteLength > 0 || !(await this.#chunks.next()).done)
      throw new FileError(`${this.entry.name} is longer than announced.`, this.path);
    verifyChecksum(this.path, this.entry, this.#crc);
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined);
  }

  async #next(): Promise<Buffer> {
    const { value, done } = await this.#chunks.next();
    if (done) throw new FileError(`${this.entry.name} ends early.`, this.path);
    const chunk = value as Buffer;
    this.#crc = crc32(chunk, this.#crc);
    return chunk;
  }
}

async function* unpacked(
  path: string,
  file: FileHandle,
  entry: ZipEntry,
): AsyncGenerator<Buffer, undefined> {
  const begin = await contentOf(path, file, entry);
  const packed = readChunks(path, file, begin, begin + entry.packed);
  if (!entry.deflated) {
    yield* packed;
    return;
  }
  const source = Readable.from(packed);
  try {
    // A failure of the source reaches the reader through the stream that it ends.
    for await (const chunk of pipeline(source, createInflateRaw(), () => undefined))
      yield chunk as Buffer;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('Z_')) throw error;
    throw new FileError(`${entry.name} cannot be unpacked: ${message}.`, path, entry.begin);
  } finally {
    source.destroy();
  }
}
