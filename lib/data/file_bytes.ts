// Bytes of a file that may be anything: only regular files are read, and only as much as they hold.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';

/** A picture's file or member beyond this is refused; it would not be one. */
export const largestPicture = 2 ** 30;

/** Opens a regular file, and closes it after use. A pipe or device cannot make it wait. */
export async function withRegularFile<T>(
  path: string,
  use: (file: FileHandle, size: number) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, which Windows lacks, opening a pipe waits for its writer.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const status = await file.stat();
    if (status.isDirectory()) throw new FileError('is a folder, not a file.', path);
    if (!status.isFile()) throw new FileError('is no regular file.', path);
    return await use(file, status.size);
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  } finally {
    await file?.close();
  }
}

/** Exactly `length` bytes from `begin`. */
export async function readAt(
  file: FileHandle,
  path: string,
  begin: number,
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, begin + done);
    if (bytesRead === 0) throw new FileError('the file ends here too early.', path, begin + done);
    done += bytesRead;
  }
  return bytes;
}

/** A file, or the part of it that holds a picture. */
export function readPart(path: string, begin = 0, length?: number): Promise<Buffer> {
  return withRegularFile(path, async (file, size) => {
    const wanted = length ?? size - begin;
    if (wanted > largestPicture)
      throw new FileError(`${wanted} bytes are too many for a picture.`, path, begin);
    if (begin + wanted > size)
      throw new FileError(`the file has only ${size} bytes; it changed.`, path, begin);
    return readAt(file, path, begin, wanted);
  });
}
