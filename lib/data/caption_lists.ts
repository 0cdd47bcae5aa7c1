// Captions as the field writes them down: JSON lines, tables of comma-separated values, COCO's annotations.
import { extname } from 'node:path';
import { FileError } from '../errors.js';
import { parseJson } from '../io/json.js';
import { damageOf, readList, refuseDamaged } from './lines.js';

/** A picture below a root, and what is said of it. */
export interface CaptionedPath {
  readonly path: string;
  readonly captions: readonly string[];
}

/**
 * Reads a list of captions, whose form its extension tells: `.jsonl` and `.csv` with `file_name` and `text` (or
 * `caption`), or `.json` in COCO's form. A picture that is named several times has several captions.
 *
 * @returns pictures with a caption at least, in the list's order
 * @throws FileError when the list cannot be read or is empty, or that names its damaged lines
 */
export async function readCaptionList(file: string): Promise<CaptionedPath[]> {
  const read = readers[extname(file).toLowerCase()];
  if (!read)
    throw new FileError(
      `is no list of captions by its name: expected one of ${Object.keys(readers).join(', ')}.`,
      file,
    );
  const found = new Map<string, string[]>();
  const damaged: string[] = [];
  read(await readList(file, 'a list of captions'), file, (place, path, texts) => {
    const damage = damageOf(path) ?? (texts.length === 0 ? 'the text is missing' : undefined);
    if (damage !== undefined) damaged.push(`${place}: ${damage}`);
    else found.set(path, [...(found.get(path) ?? []), ...texts]);
  });
  refuseDamaged(damaged, file);
  if (found.size === 0) throw new FileError('the list is empty.', file);
  return [...found].map(([path, captions]) => ({ path, captions }));
}

/** Told of each entry; an empty path or no texts where these are missing. */
type Found = (place: string, path: string, texts: readonly string[]) => void;

const readers: Readonly<Record<string, (text: string, file: string, found: Found) => void>> = {
  '.jsonl': readJsonLines,
  '.csv': readTable,
  '.json': readCoco,
};

const textColumns = ['text', 'caption', 'captions'];

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '';

// One text or a list of them, without the empty ones.
const textsOf = (value: unknown): string[] =>
  (Array.isArray(value) ? (value as unknown[]) : [value]).filter(isText).map((text) => text.trim());

function readJsonLines(text: string, _file: string, found: Found): void {
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === '') return;
    let entry: Record<string, unknown> | null = null;
    try {
      entry = JSON.parse(line) as Record<string, unknown> | null;
    } catch {
      // An empty entry is told as damaged below.
    }
    const name = entry?.file_name;
    const texts = textColumns.flatMap((column) => textsOf(entry?.[column]));
    found(`line ${i + 1}`, isText(name) ? name : '', texts);
  });
}

function readTable(text: string, file: string, found: Found): void {
  const [header = [], ...rows] = rowsOf(text, file);
  const name = header.indexOf('file_name');
  const caption = header.findIndex((column) => textColumns.includes(column));
  if (name < 0 || caption < 0)
    throw new FileError(
      `its first line must name the columns file_name and text. Got ${header.join(', ').slice(0, 100)}.`,
      file,
    );
  rows.forEach((row, i) => found(`row ${i + 2}`, row[name] ?? '', textsOf(row[caption])));
}

// RFC 4180: fields in quotes may hold commas, line ends and doubled quotes.
function rowsOf(text: string, file: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  const field = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/y;
  while (field.lastIndex < text.length) {
    const begin = field.lastIndex;
    const match = field.exec(text);
    if (!match)
      throw new FileError(`the quotes of row ${rows.length + 1} do not match.`, file, begin);
    const [, value, end] = match;
    row.push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    // A last field may be empty: what follows a comma is one more.
    if (end === ',' && field.lastIndex === text.length) row.push('');
    if (end === ',' && field.lastIndex < text.length) continue;
    if (row.length > 1 || row[0] !== '') rows.push(row);
    row = [];
  }
  return rows;
}

interface CocoCaptions {
  images?: unknown;
  annotations?: unknown;
}

function readCoco(text: string, file: string, found: Found): void {
  const { images, annotations } = (parseJson(text, file) as CocoCaptions | null) ?? {};
  if (!Array.isArray(images) || !Array.isArray(annotations))
    throw new FileError("is not in COCO's form: it has no lists of images and annotations.", file);
  const captions = new Map<unknown, string[]>();
  for (const annotation of annotations as (Record<string, unknown> | null)[]) {
    const id = annotation?.image_id;
    const texts = captions.get(id) ?? [];
    texts.push(...textsOf(annotation?.caption));
    captions.set(id, texts);
  }
  for (const [i, image] of (images as (Record<string, unknown> | null)[]).entries()) {
    const texts = captions.get(image?.id) ?? [];
    const name = image?.file_name;
    // Pictures that nobody described are no mistake there.
    if (texts.length > 0) found(`image ${i}`, isText(name) ? name : '', texts);
  }
}
