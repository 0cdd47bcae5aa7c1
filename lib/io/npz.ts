// NumPy's .npz files: named arrays in a zip archive, as FID tools keep statistics and evaluators take samples.
import { FileError } from '../errors.js';
import { writeFileAtomic } from './atomic.js';
import { formatNpy, parseNpy, type NpyArray, type StreamedNpyArray } from './npy.js';
import { withFile } from './positional.js';
import { readEntry, readZipDirectory } from './zip.js';
import { writeZip } from './zip_writer.js';

const extension = '.npy';

export interface ReadNpzOptions {
  /** Refuses files whose arrays together take more bytes. Default 4 GiB. */
  maxBytes?: number;
  /** Reads only the arrays of these names. Default: all. */
  names?: readonly string[];
}

/**
 * The arrays of a .npz file by name: `np.savez` and `np.savez_compressed`. Entries that are no arrays are
 * left out.
 *
 * @throws FileError when the archive or an array is damaged, or larger than `maxBytes`, or the elements
 *   are no plain numbers: pickled objects are refused
 */
export async function readNpz(
  path: string,
  { maxBytes = 2 ** 32, names }: ReadNpzOptions = {},
): Promise<Map<string, NpyArray>> {
  return withFile(path, async (file) => {
    const entries = await readZipDirectory(path, file, (await file.stat()).size);
    const wanted = names && new Set(names.map((name) => name + extension));
    const arrays = [...entries.values()].filter(({ name }) =>
      wanted ? wanted.has(name) : name.endsWith(extension),
    );
    const total = arrays.reduce((sum, { size }) => sum + size, 0);
    if (total > maxBytes) {
      const text = `its arrays take ${total} bytes, more than the ${maxBytes} allowed; see maxBytes.`;
      throw new FileError(text, path);
    }
    const result = new Map<string, NpyArray>();
    for (const entry of arrays) {
      const bytes = await readEntry(path, file, entry);
      result.set(entry.name.slice(0, -extension.length), parseNpy(path, entry.name, bytes));
    }
    return result;
  });
}

/**
 * Writes arrays as `np.savez` does, atomically and uncompressed; `np.load(path)` reads them.
 *
 * @param arrays by name: a Map, or `Object.entries(...)`
 * @throws ArgumentError when a shape does not fit its elements; FileError when the file cannot be written
 */
export async function writeNpz(
  path: string,
  arrays: Iterable<readonly [name: string, array: NpyArray | StreamedNpyArray]>,
): Promise<void> {
  const contents = Array.from(arrays, ([name, array]) => {
    return { name: name + extension, ...formatNpy(name, array) };
  });
  await writeFileAtomic(path, (append) => writeZip(append, contents));
}
