// Positional reads of regular files: each is opened for the read, and known again by what identified it at first.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { FileError } from '../errors.js';
import { fileError } from './file_error.js';

// Reads above 2 GiB fail on some systems.
const largestRead = 1024 ** 3;

/**
 * Opens a regular file for the time of `use`, which gets its size as well. A pipe or device, whose reading may
 * never end, is refused.
 */
export async function withFile<T>(
  path: string,
  use: (file: FileHandle, size: number) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, which Windows lacks, opening a pipe waits for its writer.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const status = await file.stat();
    if (status.isDirectory()) throw new FileError('is a folder; give the path of a file.', path);
    if (!status.isFile())
      throw new FileError('is a pipe or device; copy its content to a file and give that.', path);
    return await use(file, status.size);
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  } finally {
    await file?.close();
  }
}

/** What tells a file from another of the same name: where it lies, its size and when it was written. */
export async function identityOf(file: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs } = await file.stat({ bigint: true });
  return [dev, ino, size, mtimeNs].join(':');
}

/** As {@link withFile}; throws unless it is the file of this identity. */
export async function withSameFile<T>(
  path: string,
  identity: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  return withFile(path, async (file) => {
    // The offsets belong to the file whose header was read, not to one that took its name since.
    if ((await identityOf(file)) !== identity) {
      const text = 'the file was replaced or changed after its header was read; open it again.';
      throw new FileError(text, path);
    }
    return use(file);
  });
}

/** Fills `into` from position `begin` on; the caller has checked that the file holds so much. */
export async function readInto(
  path: string,
  file: FileHandle,
  begin: number,
  into: Uint8Array,
): Promise<void> {
  for (let done = 0; done < into.byteLength;) {
    const wanted = Math.min(into.byteLength - done, largestRead);
    const { bytesRead } = await file.read(into, done, wanted, begin + done);
    if (bytesRead === 0)
      throw new FileError('the file became shorter while read.', path, begin + done);
    done += bytesRead;
  }
}

/** Exactly `length` bytes from position `begin` on, as {@link readInto}. */
export async function readBytes(
  path: string,
  file: FileHandle,
  begin: number,
  length: number,
): Promise<Buffer> {
  const bytes = ownBytes(length);
  await readInto(path, file, begin, bytes);
  return bytes;
}

const chunkBytes = 256 * 1024;

/** The bytes from `begin` to `end` in order, a piece at a time. */
export async function* readChunks(
  path: string,
  file: FileHandle,
  begin: number,
  end: number,
): AsyncGenerator<Buffer, undefined> {
  for (let at = begin; at < end; at += chunkBytes)
    yield await readBytes(path, file, at, Math.min(chunkBytes, end - at));
}

/** The whole of a file that should be small; `what` says what it should be, for the error. */
export async function readSmallFile(path: string, largest: number, what: string): Promise<Buffer> {
  return withFile(path, async (file, size) => {
    if (size > largest) throw new FileError(`${size} bytes are too many for ${what}.`, path);
    return readBytes(path, file, 0, size);
  });
}

/** A buffer that is a block of its own, aligned for every element type. */
export function ownBytes(length: number): Buffer {
  return Buffer.from(new ArrayBuffer(length));
}
