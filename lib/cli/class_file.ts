// The names of a model's classes: a line each, in the order of their ids, in a file beside the weights.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { fileError } from '../io/file_error.js';
import { classIds, type LatentDiffusionSpec } from '../ldm/index.js';
import { UsageError } from './run.js';

const fileName = 'classes.txt';

// A million classes with long names; more is a mistake.
const largest = 64 * 1024 * 1024;

/** Writes the names into a model's folder. */
export async function saveClassNames(folder: string, names: readonly string[]): Promise<void> {
  await writeFileAtomic(join(folder, fileName), names.map((name) => `${name}\n`).join(''));
}

/**
 * The names in the given file, or else in the model's folder, if there are any.
 * @throws FileError when the given file cannot be read
 */
export async function readClassNames(folder: string, given?: string): Promise<readonly string[]> {
  const path = given ?? join(folder, fileName);
  try {
    const { size } = await stat(path);
    if (size > largest) throw new FileError('is too large for a list of names.', path);
    const lines = (await readFile(path, 'utf8')).split(/\r?\n/);
    return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
  } catch (error) {
    // Most folders have none, and files of weights lie in no folder of their own.
    const { code } = error as NodeJS.ErrnoException;
    if (given === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return [];
    throw fileError(path, 'cannot be read', error);
  }
}

/** Ids of the classes that a call names. @throws UsageError when the model has no such class */
export function askedClasses(
  spec: LatentDiffusionSpec,
  given: readonly string[],
  names: readonly string[],
): number[] {
  try {
    return classIds(spec, given, names);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    const remedy = names.length === 0 ? ' For names give --class-names.' : '';
    throw new UsageError(error.message + remedy);
  }
}
