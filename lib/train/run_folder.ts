// The folder that a training keeps everything in. One that holds a run is gone on with when that is asked
// for, and never overwritten.
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { lockFolder } from './run_lock.js';

/** A run's folder, made or found by {@link openRunFolder}. */
export interface RunFolder {
  readonly path: string;
  /** States, `step-00012000.safetensors`. */
  readonly checkpoints: string;
  /** Picture grids, in a folder for each split. */
  readonly images: string;
  /** Every measurement, one JSON object a line. */
  readonly metrics: string;
  /** Whether the run goes on from the newest state in it, if there is one. */
  readonly resume: boolean;
}

/**
 * Makes the folder of a new run, or opens that of an earlier one. It is this process's until the trainer has run, or
 * the process ends, however it does.
 *
 * @param options.resume go on with the run in the folder. Default false: the folder must be new or empty
 * @throws FileError when a new run would overwrite something, there is no run to go on with, or another process
 *   trains in the folder
 */
export async function openRunFolder(
  path: string,
  options: { resume?: boolean } = {},
): Promise<RunFolder> {
  const { resume = false } = options;
  const folder: RunFolder = {
    path,
    checkpoints: join(path, 'checkpoints'),
    images: join(path, 'images'),
    metrics: join(path, 'metrics.jsonl'),
    resume,
  };
  try {
    if (resume) {
      await checkRun(folder);
      await lockFolder(path);
      await removeUnfinished(path);
    } else {
      await checkNew(path);
      await lockFolder(path);
    }
    for (const each of [folder.checkpoints, folder.images]) await mkdir(each, { recursive: true });
  } catch (error) {
    throw fileError(path, 'cannot be used as the folder of a run', error);
  }
  return folder;
}

async function checkRun({ path, checkpoints }: RunFolder): Promise<void> {
  const found = await stat(checkpoints).catch(() => null);
  if (!found?.isDirectory())
    throw new FileError(
      'there is no run to go on with. Check the path, or start a new run without --resume.',
      path,
    );
}

// What writeFileAtomic leaves behind when the process is killed: a state may be gigabytes.
async function removeUnfinished(path: string): Promise<void> {
  for (const name of await readdir(path, { recursive: true }))
    if (/^\..+\.\d+\.[0-9a-f]{8}\.tmp$/.test(basename(name)))
      await rm(join(path, name), { force: true });
}

async function checkNew(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  const files = await readdir(path);
  if (files.length > 0)
    throw new FileError(
      `the folder is in use: it holds ${files.slice(0, 3).join(', ')}${files.length > 3 ? ', ...' : ''}. ` +
        'Go on with its run (--resume), or choose another folder for a new one.',
      path,
    );
}
