// Turns what the file system reports into a FileError that names the file and the way out.
import { EmulsionError, FileError } from '../errors.js';

const remedies: Record<string, string> = {
  ENOENT: 'there is no such file or folder; check the path',
  EISDIR: 'it is a folder; give the path of a file',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EMFILE: 'too many open files',
};

/** A FileError for a failed file operation; errors that already say what is wrong pass through. */
export function fileError(path: string, what: string, cause: unknown): Error {
  if (cause instanceof EmulsionError) return cause;
  const code = (cause as { code?: unknown } | null)?.code;
  // Not a report of the file system: the caller's own exception keeps its type and stack.
  if (typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return cause as Error;
  const reason = remedies[code] ?? (cause as Error).message;
  return new FileError(`${what}: ${reason} (${code}).`, path);
}
