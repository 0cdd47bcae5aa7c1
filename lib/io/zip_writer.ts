// Writes zip archives of stored entries. Every size is given in 64 bits: one form for small files and large ones.
import { crc32 } from 'node:zlib';
import { check } from '../errors.js';
import type { Append } from './atomic.js';

/** An entry to be: its content in parts that follow one another, made when it is their turn. */
export interface ZipContent {
  readonly name: string;
  /** Bytes of all parts together. */
  readonly size: number;
  readonly parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const version64 = 45; // 4.5, the first with sizes of 64 bits
const utf8Names = 1 << 11;
// The checksum follows the content: it is known only then.
const checksumBehind = 1 << 3;
const inExtra = 0xffffffff;
// 1 January 1980, the first day that the format knows: equal contents make equal files.
const date = 0x21;

/** Appends an archive of these entries, in their order. */
export async function writeZip(append: Append, contents: Iterable<ZipContent>): Promise<void> {
  const directory: Buffer[] = [];
  let position = 0;
  for (const { name, size, parts } of contents) {
    const header = localHeader(name, size);
    await append(header);
    let crc = 0;
    let written = 0;
    for await (const part of parts) {
      if (part.byteLength === 0) continue; // crc32 of nothing forgets the sum so far
      crc = crc32(part, crc);
      written += part.byteLength;
      await append(part);
    }
    check(written === size, () => {
      return `writeZip: ${name} was to have ${size} bytes, and its parts have ${written}.`;
    });
    const behind = descriptor(size, crc);
    await append(behind);
    directory.push(directoryEntry(name, size, crc, position));
    position += header.byteLength + size + behind.byteLength;
  }
  const entries = Buffer.concat(directory);
  await append(entries);
  await append(endRecords(directory.length, entries.byteLength, position));
}

function localHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  describe(header, 4, 0, Buffer.byteLength(name));
  const extra = sizes64([size, size]);
  header.writeUInt16LE(extra.byteLength, 28);
  return Buffer.concat([header, Buffer.from(name), extra]);
}

function descriptor(size: number, crc: number): Buffer {
  const record = Buffer.alloc(24);
  record.writeUInt32LE(0x08074b50, 0);
  record.writeUInt32LE(crc, 4);
  record.writeBigUInt64LE(BigInt(size), 8);
  record.writeBigUInt64LE(BigInt(size), 16);
  return record;
}

function directoryEntry(name: string, size: number, crc: number, position: number): Buffer {
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(version64, 4);
  describe(entry, 6, crc, Buffer.byteLength(name));
  const extra = sizes64([size, size, position]);
  entry.writeUInt16LE(extra.byteLength, 30);
  entry.writeUInt32LE(inExtra, 42);
  return Buffer.concat([entry, Buffer.from(name), extra]);
}

// What both headers hold, from the version needed on.
function describe(header: Buffer, at: number, crc: number, nameBytes: number): void {
  header.writeUInt16LE(version64, at);
  header.writeUInt16LE(utf8Names | checksumBehind, at + 2);
  header.writeUInt16LE(date, at + 8);
  header.writeUInt32LE(crc, at + 10);
  header.writeUInt32LE(inExtra, at + 14);
  header.writeUInt32LE(inExtra, at + 18);
  header.writeUInt16LE(nameBytes, at + 22);
}

function sizes64(values: readonly number[]): Buffer {
  const extra = Buffer.alloc(4 + 8 * values.length);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, i) => extra.writeBigUInt64LE(BigInt(value), 4 + 8 * i));
  return extra;
}

function endRecords(count: number, size: number, position: number): Buffer {
  const records = Buffer.alloc(56 + 20 + 22);
  records.writeUInt32LE(0x06064b50, 0);
  records.writeBigUInt64LE(44n, 4); // bytes of this record that follow
  records.writeUInt16LE(version64, 12);
  records.writeUInt16LE(version64, 14);
  [count, count, size, position].forEach((value, i) =>
    records.writeBigUInt64LE(BigInt(value), 24 + 8 * i),
  );
  const locator = records.subarray(56);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(position + size), 8);
  locator.writeUInt32LE(1, 16); // one disk
  const end = records.subarray(76);
  end.writeUInt32LE(0x06054b50, 0);
  end.fill(0xff, 8, 20); // both counts, size and position are in the 64-bit record
  return records;
}
