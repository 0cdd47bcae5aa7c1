// Lists that somebody wrote down: files of text, a picture a line, and what is wrong with them.
import { isAbsolute, normalize } from 'node:path';
import { FileError } from '../errors.js';
import { readSmallFile } from '../io/positional.js';

/** Above this a file is no list that somebody made on purpose. */
const largestList = 256 * 2 ** 20;
const damagedLinesShown = 10;

/** The text of a list, without the mark that some editors begin files with. */
export async function readList(path: string, what = 'a list of pictures'): Promise<string> {
  const bytes = await readSmallFile(path, largestList, what);
  return bytes.toString().replace(/^\uFEFF/, '');
}

/** The lines of a text without those that are empty, and without space around them. */
export const linesOf = (text: string): string[] =>
  text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** @throws FileError that names the damaged lines, if there are any */
export function refuseDamaged(damaged: readonly string[], path: string): void {
  if (damaged.length === 0) return;
  const shown = damaged.slice(0, damagedLinesShown).join('; ');
  const more = damaged.length - damagedLinesShown;
  throw new FileError(shown + (more > 0 ? `; and ${more} more lines.` : '.'), path);
}

/** What is wrong with a picture's path below a root, if anything is. */
export function damageOf(path: string): string | undefined {
  if (path === '') return 'the path is missing';
  if (/[\0\uFFFD]/.test(path)) return 'the path is not text in UTF-8';
  if (isAbsolute(path) || /^\.\.([/\\]|$)/.test(normalize(path)))
    return `${JSON.stringify(path)} leads out of the root`;
  return undefined;
}
