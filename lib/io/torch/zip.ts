// The directory of a zip archive, zip64 included: just what PyTorch's checkpoints need. Entries are stored,
// not compressed; nothing is unpacked, and every offset is checked before it is followed.
import type { FileHandle } from 'node:fs/promises';
import { FileError } from '../../errors.js';
import { readBytes } from '../positional.js';

/** An entry as the directory describes it. */
export interface ZipEntry {
  readonly name: string;
  readonly size: number;
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

// A directory of a million storages; a larger one is a mistake, or meant to exhaust the memory.
const largestDirectory = 64 * 1024 * 1024;

/**
 * Reads the directory: the entries by name.
 * @throws FileError when the archive is cut off, damaged, encrypted, compressed or ambiguous
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
  if (content + entry.size > entry.end) {
    const text = `the entry ${entry.name} of ${entry.size} bytes runs into what follows it.`;
    throw new FileError(text, path, entry.begin);
  }
  return content;
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
    if (method !== 0) {
      const remedy = 'unpack the archive and pack it again with `zip -0`';
      fail(
        `the entry ${quoted} is compressed (method ${method}), which PyTorch never does; ${remedy}`,
      );
    }
    const extra = bytes.subarray(nameAt + nameBytes, nameAt + nameBytes + extraBytes);
    const narrow = [24, 20, 42].map((i) => bytes.readUInt32LE(at + i));
    const [size, stored, begin] =
      widen(narrow, extra) ?? fail(`the entry ${quoted} lacks a zip64 size`);
    if (size !== stored) fail(`the entry ${quoted} has two sizes, ${size} and ${stored}`);
    if (begin + sizes.local + nameBytes + size > origin)
      fail(`the entry ${quoted} at byte ${begin} with ${size} bytes runs past the end of the data`);
    entries.push({ name, size, crc: bytes.readUInt32LE(at + 16), begin, end: origin });
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
    if (entry.begin + sizes.local + Buffer.byteLength(entry.name) + entry.size > end)
      throw new FileError(`the entry ${entry.name} overlaps the next.`, path, entry.begin);
    entries[byPosition[i]] = { ...entry, end };
  }
}
