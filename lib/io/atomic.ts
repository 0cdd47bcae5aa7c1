// Atomic writes: a file holds either its old bytes or all of its new ones, whatever happens between.
import { randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError } from './file_error.js';

/** Appends to the file being written; resolves when the bytes have been handed to the system. */
export type Append = (bytes: Uint8Array) => Promise<void>;

// Single writes above 2 GiB are not portable, and smaller pieces leave the thread pool to others.
const largestWrite = 64 * 1024 * 1024;

/**
 * Writes a file so that `path` always holds either the old content or the complete new one: the bytes
 * go to a temporary file in the same folder, which is flushed to the disk and then renamed. If
 * anything fails, `write` included, the temporary file is removed and `path` stays as it was.
 *
 * @param write the bytes, or a function that appends them piece by piece
 * @throws FileError when the folder is missing or not writable, or the disk is full
 */
export async function writeFileAtomic(
  path: string,
  write: string | Uint8Array | ((append: Append) => Promise<void>),
): Promise<void> {
  // The temporary file must be on the same file system, or the rename would be a copy.
  const name = `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  const temporary = join(dirname(path), name);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'wx');
    const handle = file;
    if (typeof write === 'function') await write((bytes) => appendAll(handle, bytes));
    else await appendAll(handle, typeof write === 'string' ? Buffer.from(write) : write);
    // Without this a power cut after the rename could leave a name in front of missing bytes.
    await file.sync();
    await file.close();
    file = undefined;
    await rename(temporary, path);
  } catch (error) {
    await file?.close().catch(() => undefined);
    await rm(temporary, { force: true }).catch(() => undefined);
    throw fileError(path, 'cannot be written', error);
  }
  await syncFolder(dirname(path));
}

async function appendAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.byteLength;) {
    const length = Math.min(bytes.byteLength - written, largestWrite);
    written += (await file.write(bytes, written, length)).bytesWritten;
  }
}

// Makes the rename itself durable. Some systems cannot open folders; their renames are durable anyway.
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
