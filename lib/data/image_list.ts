// Pictures named by a text file, as the original's splits of FFHQ and LSUN are.
import { join } from 'node:path';
import { FileError } from '../errors.js';
import type { Dataset, ImageItem } from './dataset.js';
import { damageOf, readList, refuseDamaged } from './lines.js';

/**
 * The pictures whose paths a text file lists, one a line, relative to a root, in the list's order. A label may
 * follow, a whole number after a tab or a comma; whether the first line has one decides for all. Empty lines
 * are passed over.
 */
export class ImageList implements Dataset {
  readonly #entries: readonly { path: string; label?: number }[];

  private constructor(
    readonly root: string,
    entries: readonly { path: string; label?: number }[],
  ) {
    this.#entries = entries;
  }

  /**
   * Reads the list; no picture is opened.
   * @param root what the paths are relative to; none may lead out of it
   * @throws FileError when the list cannot be read or is empty, or that names its damaged lines
   */
  static async open(list: string, root: string): Promise<ImageList> {
    const lines = (await readList(list)).split(/\r?\n/);
    const first = lines.find((line) => line !== '') ?? '';
    const labelled = labelPattern.test(first);
    const entries: { path: string; label?: number }[] = [];
    const damaged: string[] = [];
    lines.forEach((line, i) => {
      if (line === '') return;
      const entry = parse(line, labelled);
      if (typeof entry === 'string') damaged.push(`line ${i + 1}: ${entry}`);
      else entries.push(entry);
    });
    refuseDamaged(damaged, list);
    if (entries.length === 0) throw new FileError('the list is empty.', list);
    return new ImageList(root, entries);
  }

  get length(): number {
    return this.#entries.length;
  }

  item(index: number): ImageItem {
    const { path, label } = this.#entries[index];
    const file = join(this.root, path);
    return { path: file, source: { file }, label };
  }
}

const labelPattern = /^(.*)[\t,] *(\d{1,9}) *$/;

// The entry, or what is wrong with the line.
function parse(line: string, labelled: boolean): { path: string; label?: number } | string {
  let path = line;
  let label: number | undefined;
  if (labelled) {
    const match = labelPattern.exec(line);
    if (!match) return 'expected a path, a tab or comma, and a whole number as the first line has';
    path = match[1];
    label = Number(match[2]);
  }
  path = path.trim();
  return damageOf(path) ?? { path, label };
}
