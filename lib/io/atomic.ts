// Atomic writes: a file holds either its old bytes or all of its new ones, whatever happens between.
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError } from './file_error.js';

/** Appends to the file being written; resolves when the bytes have been handed to the system. */
export type Append = (bytes: Uint8Array) => Promise<void>;

// Single writes above 2 GiB are not portable, and smaller pieces leave the thread pool to others.
const largestWrite = 64 * 1024 * 1024;

/** What a file is to hold: the bytes, or a function that appends them piece by piece. */
export type Content = string | Uint8Array | ((append: Append) => Promise<void>);

/**
 * Writes a file so that `path` always holds either the old content or the complete new one: the bytes
 * go to a temporary file in the same folder, which is flushed to the disk and then renamed. If
 * anything fails, `write` included, the temporary file is removed and `path` stays as it was.
 *
 * @param write the bytes, or a function that appends them piece by piece
 * @throws FileError when the folder is missing or not writable, or the disk is full
 */
export async function writeFileAtomic(path: string, write: Content): Promise<void> {
  await writeFilesAtomic([[path, write]]);
}

/**
 * Writes files that are of use together only. All are complete on the disk before the first of them takes
 * its place: whatever fails until then leaves the old ones as they were. While they change places the last
 * one, without which the others count for nothing, is missing: a kill leaves no mix of old and new.
 *
 * @param files in the order in which they are written; null stands for a file that is to go
 */
export async function writeFilesAtomic(
  files: Iterable<readonly [path: string, write: Content | null]>,
): Promise<void> {
  const moves: Move[] = [];
  try {
    for (const [path, write] of files)
      moves.push({ path, temporary: write === null ? null : await writeTemporary(path, write) });
    const first = moves.slice(0, -1);
    const last = moves.slice(-1);
    if (first.length > 0) {
      await moveAll(last.map(({ path }) => ({ path, temporary: null })));
      await moveAll(first);
    }
    await moveAll(last);
  } catch (error) {
    for (const { temporary } of moves) if (temporary !== null) await discard(temporary);
    throw error;
  }
}

/** A file that is to take its place; null: nothing is to be there. */
interface Move {
  readonly path: string;
  temporary: string | null;
}

/** Puts files in their places, there to stay. */
async function moveAll(moves: readonly Move[]): Promise<void> {
  for (const each of moves) {
    try {
      if (each.temporary === null) await rm(each.path, { force: true });
      else {
        await rename(each.temporary, each.path);
        release(each.temporary);
      }
    } catch (error) {
      throw fileError(each.path, 'cannot be written', error);
    }
    each.temporary = null;
  }
  for (const folder of new Set(moves.map(({ path }) => dirname(path)))) await syncFolder(folder);
}

/** Writes a file beside `path`, flushed to the disk. */
async function writeTemporary(path: string, write: Content): Promise<string> {
  // It must be on the same file system, or the rename would be a copy.
  const temporary = join(dirname(path), temporaryName(basename(path)));
  hold(temporary);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'wx');
    const handle = file;
    const append: Append = (bytes) => appendAll(path, handle, bytes);
    if (typeof write === 'function') await write(append);
    else await append(typeof write === 'string' ? Buffer.from(write) : write);
    // Without this a power cut after the rename could leave a name in front of missing bytes.
    await file.sync();
    await file.close();
    return temporary;
  } catch (error) {
    await file?.close().catch(() => undefined);
    await discard(temporary);
    throw fileError(path, 'cannot be written', error);
  }
}

// Of a name, in bytes.
const longestName = 255;

function temporaryName(name: string): string {
  const end = `.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  const bytes = Buffer.from(name).subarray(0, longestName - 1 - end.length);
  // In a stream a character whose bytes are not all there waits for the rest.
  return `.${new TextDecoder().decode(bytes, { stream: true })}${end}`;
}

async function discard(temporary: string): Promise<void> {
  await rm(temporary, { force: true }).catch(() => undefined);
  release(temporary);
}

// What a process that is ended would leave behind for good.
const held = new Set<string>();
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function hold(temporary: string): void {
  if (held.size === 0) {
    process.on('exit', removeHeld);
    for (const name of signals) process.on(name, endBy);
  }
  held.add(temporary);
}

function release(temporary: string): void {
  held.delete(temporary);
  if (held.size > 0) return;
  process.off('exit', removeHeld);
  for (const name of signals) process.off(name, endBy);
}

function removeHeld(): void {
  for (const temporary of held) rmSync(temporary, { force: true });
}

// The process ends as it would have. Whoever listens besides decides whether it ends at all.
function endBy(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  removeHeld();
  process.off(signal, endBy);
  process.kill(process.pid, signal);
}

async function appendAll(path: string, file: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < bytes.byteLength;) {
      const length = Math.min(bytes.byteLength - written, largestWrite);
      written += (await file.write(bytes, written, length)).bytesWritten;
    }
  } catch (error) {
    // Told here: whoever appends may be reading another file, which would be blamed.
    throw fileError(path, 'cannot be written', error);
  }
}

// Makes renames themselves durable. Some systems cannot open folders; their renames are durable anyway.
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
