// Where pictures to be measured come from: a folder, or an array in a .npz file. One group is in memory at a time.
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { transformPixels } from '../data/transform.js';
import { FileError } from '../errors.js';
import { decodeImage, largestPicture, type Pixels } from '../io/decode_image.js';
import { fileError } from '../io/file_error.js';
import { describeNpz, visitNpzRows } from '../io/npz_rows.js';
import { readSmallFile } from '../io/positional.js';
import { listPictures } from '../metrics/folders.js';
import { fileHash, sha256 } from './hash.js';

/** A picture and what it is called in its set. */
export interface NamedPicture {
  readonly name: string;
  readonly pixels: Pixels;
}

export interface PictureSetOptions {
  /** Cuts the square from the middle of each picture and resizes it to this side, bicubic. Default: as they are. */
  size?: number;
}

/** Pictures of one size, in an order of their own. */
export interface PictureSet {
  readonly path: string;
  readonly kind: 'folder' | 'npz';
  readonly count: number;
  /** SHA-256 of a sorted list of names and bytes: the order of the files does not matter. */
  hash(signal?: AbortSignal): Promise<string>;
  /**
   * Gives all pictures to `use`, a group at a time.
   * @throws FileError that names the first picture that is damaged, or of another size than those before
   */
  visit(
    group: number,
    use: (pictures: readonly NamedPicture[]) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void>;
}

/** @throws FileError when there is nothing there, or no pictures */
export async function openPictureSet(
  path: string,
  options: PictureSetOptions = {},
): Promise<PictureSet> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  return entry.isDirectory() ? openFolder(path, options) : openArray(path, options);
}

async function openFolder(path: string, options: PictureSetOptions): Promise<PictureSet> {
  const names = await listPictures(path);
  if (names.length === 0) throw new FileError('the folder holds no pictures.', path);
  const read = (name: string) => readSmallFile(join(path, name), largestPicture, 'a picture');
  return {
    ...{ path, kind: 'folder', count: names.length },
    async hash(signal) {
      const lines: string[] = [];
      for (const name of names) {
        signal?.throwIfAborted();
        lines.push(`${sha256(await read(name))}  ${name}\n`);
      }
      return sha256(lines.sort().join(''));
    },
    async visit(group, use, signal) {
      const fit = fitter(path, options);
      for (let from = 0; from < names.length; from += group) {
        signal?.throwIfAborted();
        const some = names.slice(from, from + group);
        const decoded = await Promise.all(
          some.map(async (name) => decodeImage(await read(name), join(path, name))),
        );
        await use(some.map((name, i) => ({ name, pixels: fit(decoded[i], join(path, name)) })));
      }
    },
  };
}

// Samples as the evaluators of the literature take them: uint8 [N, H, W, 3] under arr_0.
async function openArray(path: string, options: PictureSetOptions): Promise<PictureSet> {
  const name = 'arr_0';
  const array = (await describeNpz(path)).get(name);
  const shape = array?.shape ?? [];
  if (array?.dtype !== 'uint8' || shape.length !== 4 || shape[3] !== 3 || shape.includes(0)) {
    const found = array ? `${array.dtype} [${shape.join(', ')}]` : 'missing';
    throw new FileError(
      `holds no pictures: ${name} is ${found}, expected uint8 [N, H, W, 3].`,
      path,
    );
  }
  const [count, height, width, channels] = shape;
  if (height * width > largestArrayPicture)
    throw new FileError(`its pictures of ${width} x ${height} pixels are too large.`, path);
  return {
    ...{ path, kind: 'npz', count },
    hash: () => fileHash(path),
    async visit(group, use, signal) {
      const fit = fitter(path, options);
      const bytes = height * width * channels;
      await visitNpzRows(path, name, group, async (rows, first) => {
        signal?.throwIfAborted();
        const pictures = Array.from({ length: rows.byteLength / bytes }, (_, i) => {
          const data = rows.subarray(i * bytes, (i + 1) * bytes);
          const pixels = fit({ data, height, width, channels }, path);
          return { name: String(first + i).padStart(6, '0'), pixels };
        });
        await use(pictures);
      });
    },
  };
}

const largestArrayPicture = 4096 * 4096;

/** @internal The square from the middle of a picture, resized to a side as sets are. */
export const cutSquare = (pixels: Pixels, size: number, path: string): Pixels =>
  transformPixels(pixels, { size, filter: 'bicubic' }, [0, 0, 0, 1], path).pixels;

// Cuts and resizes where asked for; sees to it that sizes agree where not.
function fitter(
  set: string,
  { size }: PictureSetOptions,
): (pixels: Pixels, path: string) => Pixels {
  if (size !== undefined) return (pixels, path) => cutSquare(pixels, size, path);
  let first: { path: string; width: number; height: number } | undefined;
  return (pixels, path) => {
    const { width, height } = pixels;
    first ??= { path, width, height };
    if (width === first.width && height === first.height) return pixels;
    const other = `${basename(first.path)} is ${first.width} x ${first.height}`;
    throw new FileError(
      `is ${width} x ${height} pixels, but ${other}: pictures of one size make a fair set. Choose a size for all of ${set}.`,
      path,
    );
  };
}
