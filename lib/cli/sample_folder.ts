// The folder that `emulsion sample` writes into: numbered pictures, what they were made from, and all at once.
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSamplingRuns } from '../eval/sampling_record.js';
import { decodeImage, type Pixels } from '../io/decode_image.js';
import { fileError } from '../io/file_error.js';
import { makeGrid, readImage, writeFileAtomic, writeImage, writeNpz } from '../io/index.js';
import { stack } from '../ops/index.js';
import { tidy } from '../scope.js';
import { lockFolder, unlockFolder, type FolderUse } from '../train/run_lock.js';
import { makeFolder } from './picture_files.js';
import { UsageError } from './run.js';
import { packageVersion } from './version.js';

const configFile = 'sampling_config.json';
const largestGrid = 1024;

const sampling: FolderUse = {
  does: 'writes pictures into',
  harm: "overwrite each other's pictures",
};

const numbered = (number: number): string => String(number).padStart(6, '0');

/** A folder of samples, to which more are added. */
export class SampleFolder {
  private constructor(
    private readonly path: string,
    /** Number of this run's first picture. */
    readonly first: number,
    private readonly runs: readonly unknown[],
  ) {}

  /**
   * Makes the folder, or counts what is in it. It is this process's until {@link close}.
   * @throws FileError when another one writes into it
   */
  static async open(path: string): Promise<SampleFolder> {
    await makeFolder(path);
    try {
      await lockFolder(path, sampling);
      return await SampleFolder.counted(path);
    } catch (error) {
      await unlockFolder(path);
      throw fileError(path, 'cannot be written to', error);
    }
  }

  private static async counted(path: string): Promise<SampleFolder> {
    const names = await readdir(path).catch((error: unknown) => {
      throw fileError(path, 'cannot be listed', error);
    });
    const taken = names.flatMap((name) => {
      const number = /^(?:grid-|samples-)?(\d{6,15})\b.*\.(?:png|npz)$/.exec(name)?.[1];
      return number === undefined ? [] : [Number(number)];
    });
    const runs = names.includes(configFile) ? await readSamplingRuns(join(path, configFile)) : [];
    return new SampleFolder(path, Math.max(-1, ...taken) + 1, runs);
  }

  /** Lets others write into the folder. */
  close(): Promise<void> {
    return unlockFolder(this.path);
  }

  /** The file of this run's picture, counted from 0. */
  picture(index: number): string {
    return join(this.path, `${numbered(this.first + index)}.png`);
  }

  /** Notes how this run's pictures are made, beside what is there of earlier ones; of none, nothing. */
  async describe(count: number, settings: Record<string, unknown>): Promise<void> {
    const path = join(this.path, configFile);
    const run = { first: this.first, count, emulsion: packageVersion, ...settings };
    const runs = count > 0 ? [...this.runs, run] : this.runs;
    if (runs.length === 0) await rm(path, { force: true });
    else await writeFileAtomic(path, `${JSON.stringify(runs, null, 2)}\n`);
  }

  checkGrid(count: number): void {
    if (count > largestGrid)
      throw new UsageError(`a grid shows at most ${largestGrid} pictures: leave --grid out.`);
  }

  /** This run's pictures as one. @param perRow default 8 */
  async writeGrid(files: readonly string[], perRow?: number): Promise<void> {
    const path = join(this.path, `grid-${numbered(this.first)}.png`);
    await tidy(async () => {
      const images = [];
      for (const file of files) images.push(await readImage(file));
      await writeImage(path, await makeGrid(stack(images), { nrow: perRow }));
    });
  }

  /** This run's pictures, all of one size, for NumPy; read one by one. */
  async writeNpz(files: readonly string[]): Promise<void> {
    const read = async (path: string) => decodeImage(await readFile(path), path);
    const { height, width, channels } = await read(files[0]);
    const shape = [files.length, height, width, channels];
    const name = `samples-${numbered(this.first)}-${shape.join('x')}.npz`;
    const chunks = pixelsOf(files, read);
    await writeNpz(join(this.path, name), [['arr_0', { shape, dtype: 'uint8', chunks }]]);
  }
}

async function* pixelsOf(
  files: readonly string[],
  read: (path: string) => Promise<Pixels>,
): AsyncGenerator<Uint8Array> {
  for (const file of files) yield (await read(file)).data;
}
