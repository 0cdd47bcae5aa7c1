// Reads zip archives, zip64 included: what PyTorch's checkpoints and NumPy's .npz files need. Every size and
// offset is checked before it is followed.
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { FileError } from '../errors.js';
import { readBytes } from './positional.js';

/** An entry as the directory describes it. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes of the content, and those that it takes up in the file: fewer where it is deflated. */
  readonly size: number;
  readonly packed: number;
  readonly deflated: boolean;
  /** CRC-32 of the content; 0 where the writer was told not to compute it. */
  readonly crc: number;
  /** Position of the local header, and a position that the content does not reach. */
  readonly begin: number;
  readonly end: number;
}

const signatures = {
  local: 0x04034b50,
  entry: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
};
const sizes = { local: 30, entry: 46, end: 22, end64: 56, locator64: 20 };
const longestComment = 0xffff;
const methods = { stored: 0, deflated: 8 };

// A directory of a million storages; a larger one is a mistake, or meant to exhaust the memory.
const largestDirectory = 64 * 1024 * 1024;

// What deflate can gain at most: 258 bytes for two bits.
const largestGain = 1032;

/**
 * Reads the directory: the entries by name.
 * @throws FileError when the archive is cut off, damaged, encrypted or ambiguous, or an entry is neither
 *   stored nor deflated
 */
export async function readZipDirectory(
  path: string,
  file: FileHandle,
  fileBytes: number,
): Promise<Map<string, ZipEntry>> {
  const { begin, size, count } = await findDirectory(path, file, fileBytes);
  const bytes = await readBytes(path, file, begin, size);
  const entries = parseEntries(path, bytes, begin);
  if (entries.length !== count) {
    const text = `the archive announces ${count} entries but lists ${entries.length}.`;
    throw new FileError(text, path, begin);
  }
  checkOverlap(path, entries);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  if (byName.size < entries.length) {
    throw new FileError('the archive holds two entries of the same name.', path, begin);
  }
  return byName;
}

/** Position of an entry's first byte of content, from its local header. */
export async function contentOf(path: string, file: FileHandle, entry: ZipEntry): Promise<number> {
  const name = Buffer.from(entry.name);
  const header = await readBytes(path, file, entry.begin, sizes.local + name.byteLength);
  const nameLength = header.readUInt16LE(26);
  if (
    header.readUInt32LE(0) !== signatures.local ||
    nameLength !== name.byteLength ||
    !header.subarray(sizes.local).equals(name)
  ) {
    throw new FileError(`the entry ${entry.name} does not begin here.`, path, entry.begin);
  }
  const content = entry.begin + sizes.local + nameLength + header.readUInt16LE(28);
  if (content + entry.packed > entry.end) {
    const text = `the entry ${entry.name} of ${entry.packed} bytes runs into what follows it.`;
    throw new FileError(text, path, entry.begin);
  }
  return content;
}

/**
 * An entry's whole content, unpacked and its checksum compared. The caller has checked that `entry.size`
 * is a size to make room for.
 */
export async function readEntry(path: string, file: FileHandle, entry: ZipEntry): Promise<Buffer> {
  const content = await contentOf(path, file, entry);
  const packed = await readBytes(path, file, content, entry.packed);
  const bytes = entry.deflated ? await inflate(path, entry, packed) : packed;
  verifyChecksum(path, entry, crc32(bytes));
  return bytes;
}

async function inflate(path: string, entry: ZipEntry, packed: Buffer): Promise<Buffer> {
  // One byte more than expected is enough to see that there are more.
  const limit = { maxOutputLength: entry.size + 1 };
  const bytes = await promisify(inflateRaw)(packed, limit).catch((error: Error) => {
    const text = `the entry ${entry.name} cannot be unpacked: ${error.message}.`;
    throw new FileError(text, path, entry.begin);
  });
  if (bytes.byteLength === entry.size) return bytes;
  const text = `the entry ${entry.name} unpacks to other than the ${entry.size} bytes announced.`;
  throw new FileError(text, path, entry.begin);
}

/** @throws FileError when the archive holds a checksum of the entry, and it is another */
export function verifyChecksum(path: string, entry: ZipEntry, crc: number): void {
  if (entry.crc === 0 || crc === entry.crc) return;
  const text = `the checksum of ${entry.name} does not match: the file is damaged; fetch it again.`;
  throw new FileError(text, path, entry.begin);
}

interface Directory {
  begin: number;
  size: number;
  count: number;
}

// The record at the end says where the directory is. Its comment may hold anything, even another such
// record: only one behind which the file ends, and in front of which the directory ends, is believed.
async function findDirectory(
  path: string,
  file: FileHandle,
  fileBytes: number,
): Promise<Directory> {
  const tailBytes = Math.min(fileBytes, sizes.end + longestComment);
  const tail = await readBytes(path, file, fileBytes - tailBytes, tailBytes);
  let refusal: FileError | undefined;
  for (let at = tailBytes - sizes.end; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== signatures.end) continue;
    if (at + sizes.end + tail.readUInt16LE(at + 20) !== tailBytes) continue;
    const position = fileBytes - tailBytes + at;
    const directory = await describeDirectory(path, file, tail.subarray(at), position);
    if (!(directory instanceof FileError)) return directory;
    refusal ??= directory;
  }
  const text = 'the archive has no directory at its end: the file is cut off; fetch it again.';
  throw refusal ?? new FileError(text, path, fileBytes);
}

async function describeDirectory(
  path: string,
  file: FileHandle,
  record: Buffer,
  position: number,
): Promise<Directory | FileError> {
  let directory: Directory = {
    count: record.readUInt16LE(10),
    size: record.readUInt32LE(12),
    begin: record.readUInt32LE(16),
  };
  let end = position;
  if (position >= sizes.locator64 + sizes.end64) {
    const locatorAt = position - sizes.locator64;
    const locator = await readBytes(path, file, locatorAt, sizes.locator64);
    if (locator.readUInt32LE(0) === signatures.locator64) {
      end = Number(locator.readBigUInt64LE(8));
      if (end > locatorAt - sizes.end64)
        return new FileError(`the zip64 record cannot begin at byte ${end}.`, path, locatorAt);
      const record64 = await readBytes(path, file, end, sizes.end64);
      if (record64.readUInt32LE(0) !== signatures.end64)
        return new FileError('the zip64 record does not begin here.', path, end);
      directory = {
        count: Number(record64.readBigUInt64LE(32)),
        size: Number(record64.readBigUInt64LE(40)),
        begin: Number(record64.readBigUInt64LE(48)),
      };
    }
  }
  const { begin, size } = directory;
  if (begin + size !== end) {
    const text = `the archive's directory of ${size} bytes cannot begin at byte ${begin}.`;
    return new FileError(text, path, position);
  }
  if (size > largestDirectory)
    return new FileError(`a directory of ${size} bytes is too large.`, path, position);
  return directory;
}

function parseEntries(path: string, bytes: Buffer, origin: number): ZipEntry[] {
  const entries: ZipEntry[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const fail = (problem: string): never => {
      throw new FileError(`${problem}.`, path, origin + at);
    };
    const left = bytes.byteLength - at;
    if (left < sizes.entry || bytes.readUInt32LE(at) !== signatures.entry)
      fail("an entry of the archive's directory does not begin here");
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((i) =>
      bytes.readUInt16LE(at + i),
    );
    const length = sizes.entry + nameBytes + extraBytes + commentBytes;
    if (left < length) fail("an entry of the archive's directory is cut off");
    const nameAt = at + sizes.entry;
    const name = bytes.toString('utf8', nameAt, nameAt + nameBytes);
    const quoted = JSON.stringify(name);
    if (bytes.readUInt16LE(at + 8) & 1) fail(`the entry ${quoted} is encrypted`);
    const method = bytes.readUInt16LE(at + 10);
    const deflated = method === methods.deflated;
    if (!deflated && method !== methods.stored) {
      const remedy = 'unpack the archive and pack it again with `zip`';
      fail(`the entry ${quoted} is compressed by method ${method}, which is not known; ${remedy}`);
    }
    const extra = bytes.subarray(nameAt + nameBytes, nameAt + nameBytes + extraBytes);
    const narrow = [24, 20, 42].map((i) => bytes.readUInt32LE(at + i));
    const [size, packed, begin] =
      widen(narrow, extra) ?? fail(`the entry ${quoted} lacks a zip64 size`);
    if (!deflated && size !== packed)
      fail(`the entry ${quoted} has two sizes, ${size} and ${packed}`);
    if (begin + sizes.local + nameBytes + packed > origin)
      fail(
        `the entry ${quoted} at byte ${begin} with ${packed} bytes runs past the end of the data`,
      );
    if (size > packed * largestGain)
      fail(`the entry ${quoted} of ${packed} bytes cannot unpack to ${size}`);
    const crc = bytes.readUInt32LE(at + 16);
    entries.push({ name, size, packed, deflated, crc, begin, end: origin });
    at += length;
  }
  return entries;
}

// Fields that are too narrow for their value hold all ones; the value is then in the extra field.
function widen(narrow: number[], extra: Buffer): number[] | null {
  const overflow = 0xffffffff;
  if (!narrow.includes(overflow)) return narrow;
  for (let at = 0; at + 4 <= extra.byteLength;) {
    const length = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) !== 1) {
      at += 4 + length;
      continue;
    }
    const field = extra.subarray(at + 4, at + 4 + length);
    let next = 0;
    if (field.byteLength < 8 * narrow.filter((value) => value === overflow).length) return null;
    return narrow.map((value) =>
      value === overflow ? Number(field.readBigUInt64LE(8 * next++)) : value,
    );
  }
  return null;
}

// Bytes that belong to two entries are a sign of a file made to mislead.
function checkOverlap(path: string, entries: ZipEntry[]): void {
  const byPosition = entries.map((_, i) => i).sort((a, b) => entries[a].begin - entries[b].begin);
  for (let i = 0; i + 1 < byPosition.length; i++) {
    const entry = entries[byPosition[i]];
    const end = entries[byPosition[i + 1]].begin;
    if (entry.begin + sizes.local + Buffer.byteLength(entry.name) + entry.packed > end)
      throw new FileError(`the entry ${entry.name} overlaps the next.`, path, entry.begin);
    entries[byPosition[i]] = { ...entry, end };
  }
}
