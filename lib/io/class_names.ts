// The names of a model's classes: a line each, in the order of their ids, in a file beside the weights.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../errors.js';
import { writeFileAtomic } from './atomic.js';
import { fileError } from './file_error.js';

/** @internal Where they lie in a model's folder. */
export const classNamesFile = 'classes.txt';

// A million classes with long names; more is a mistake.
const largest = 64 * 1024 * 1024;

/** @internal Writes the names into a model's folder. */
export async function saveClassNames(folder: string, names: readonly string[]): Promise<void> {
  await writeFileAtomic(join(folder, classNamesFile), names.map((name) => `${name}\n`).join(''));
}

/**
 * The names of a model's classes, or of a layout's categories, by their ids: from `classes.txt`, which a training
 * leaves in the model's folder, or from another file with a name a line. Empty where the folder has none.
 *
 * ```ts
 * const classNames = await readClassNames('logs/animals/model');
 * ```
 *
 * @param file instead of the folder's own
 * @throws FileError when the given file cannot be read, or is too large for a list of names
 */
export async function readClassNames(folder: string, file?: string): Promise<readonly string[]> {
  const path = file ?? join(folder, classNamesFile);
  try {
    const { size } = await stat(path);
    if (size > largest) throw new FileError('is too large for a list of names.', path);
    const lines = (await readFile(path, 'utf8')).split(/\r?\n/);
    return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
  } catch (error) {
    // Most folders have none, and files of weights lie in no folder of their own.
    const { code } = error as NodeJS.ErrnoException;
    if (file === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return [];
    throw fileError(path, 'cannot be read', error);
  }
}
