// Which pictures a command reads, and which files it may write.
import { mkdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join, parse, resolve } from 'node:path';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { readImageSize } from '../io/image.js';
import { listPictures } from '../metrics/folders.js';
import { UsageError } from './run.js';

/** A picture to read. */
export interface PictureFile {
  readonly path: string;
  /** File name without folders. */
  readonly name: string;
  readonly height: number;
  readonly width: number;
}

/** The pictures that the arguments name, folders opened up; every header is read, so all of them exist. */
export async function findPictures(inputs: readonly string[]): Promise<PictureFile[]> {
  const paths: string[] = [];
  for (const input of inputs) {
    const entry = await stat(input).catch((error: unknown) => {
      throw fileError(input, 'cannot be read', error);
    });
    if (!entry.isDirectory()) {
      paths.push(input);
      continue;
    }
    const names = await listPictures(input);
    if (names.length === 0) throw new FileError('the folder holds no pictures.', input);
    paths.push(...names.map((name) => join(input, name)));
  }
  const pictures: PictureFile[] = [];
  for (const path of paths)
    pictures.push({ path, name: basename(path), ...(await readImageSize(path)) });
  return pictures;
}

/** Throws when two of the names are one. `what` says what would collide. */
export function refuseDuplicates(names: readonly string[], what: string): void {
  const seen = new Set<string>();
  const twice = names.find((name) => seen.has(name) || !seen.add(name));
  if (twice !== undefined)
    throw new UsageError(`${what} '${twice}' comes twice: names must differ.`);
}

/**
 * Paths of PNG files in the folder for files of these names, before any work is done.
 *
 * @param inputs what the command reads, and therefore never writes
 * @throws FileError for files that exist, unless `force`; UsageError for files that clash
 */
export async function planPngs(
  names: readonly string[],
  folder: string,
  options: { force?: boolean; inputs?: readonly string[] },
): Promise<string[]> {
  const files = names.map((name) => `${parse(name).name}.png`);
  refuseDuplicates(files, 'the output');
  const paths = files.map((file) => join(folder, file));
  for (const path of paths) await refuseToOverwrite(path, options);
  return paths;
}

/** Throws when the file exists, unless `force`, and in any case when it is one of the inputs. */
export async function refuseToOverwrite(
  path: string,
  { force = false, inputs = [] }: { force?: boolean; inputs?: readonly string[] },
): Promise<void> {
  const target = await realpath(path).catch(() => null);
  if (target === null) return;
  for (const input of inputs)
    if ((await realpath(input).catch(() => resolve(input))) === target)
      throw new UsageError(`${path} would overwrite the input ${input}: choose another output.`);
  if (!force) throw new FileError('exists already; --force overwrites it.', path);
}

/** Makes the folder that a command writes into. @throws FileError when it cannot be made, or takes no files */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, 'cannot be created', error);
  }
  // Rights do not tell all: a file system may be full or read-only, or have no files of ours.
  const probe = join(folder, `.emulsion.${process.pid}.tmp`);
  try {
    await writeFile(probe, '');
    await rm(probe);
  } catch (error) {
    throw fileError(folder, 'cannot be written into', error);
  }
}
