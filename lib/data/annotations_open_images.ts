// OpenImages' annotations: rows of comma-separated values, in files too large for one string.
import { StringDecoder } from 'node:string_decoder';
import { FileError } from '../errors.js';
import { readBytes, withFile } from '../io/positional.js';
import type { Annotations, Category } from './annotations.js';

const longestRow = 64 * 1024;
const chunk = 2 ** 20;

type Picture = Annotations['pictures'][number];
type Box = Picture['boxes'][number];

/**
 * Reads the rows of boxes and those of categories.
 * @throws FileError that names the row that is damaged
 */
export async function readOpenImages(files: {
  boxes: string;
  classes: string;
}): Promise<Annotations> {
  const categories = new Map<string, Category>();
  await eachRow(files.classes, (row, fail) => {
    const comma = row.indexOf(',');
    const [id, name] = [row.slice(0, comma), row.slice(comma + 1).replace(/^"(.*)"$/, '$1')];
    if (comma < 1 || name === '') fail('expected the id of a category, a comma and its name');
    if (categories.has(id)) fail(`category ${id} comes twice`);
    categories.set(id, { id, name });
  });
  const pictures = new Map<string, Box[]>();
  let columns: Columns | undefined;
  await eachRow(files.boxes, (row, fail) => {
    const values = row.split(',');
    if (!columns) {
      columns = columnsOf(values, fail);
      return;
    }
    const { image, ...box } = boxOf(values, columns, fail);
    if (!categories.has(box.label)) fail(`${box.label} is none of the categories`);
    const boxes = pictures.get(image);
    if (boxes) boxes.push(box);
    else pictures.set(image, [box]);
  });
  return {
    categories: [...categories.values()],
    pictures: Array.from(pictures, ([id, boxes]): Picture => {
      return { file: `${id}.jpg`, boxes, width: 1, height: 1 };
    }),
  };
}

const required = ['ImageID', 'LabelName', 'XMin', 'XMax', 'YMin', 'YMax'] as const;
const flags = {
  IsGroupOf: 'isGroupOf',
  IsOccluded: 'isOccluded',
  IsDepiction: 'isDepiction',
  IsInside: 'isInside',
} as const;

type Name = (typeof required)[number] | keyof typeof flags;
type Columns = ReadonlyMap<Name, number>;
type Fail = (message: string) => never;

function columnsOf(names: readonly string[], fail: Fail): Columns {
  const missing = required.filter((name) => !names.includes(name));
  if (missing.length > 0)
    fail(`the first row must name the columns; it lacks ${missing.join(', ')}`);
  const wanted: readonly Name[] = [...required, ...(Object.keys(flags) as (keyof typeof flags)[])];
  return new Map(
    wanted.map((name) => [name, names.indexOf(name)] as const).filter(([, at]) => at >= 0),
  );
}

function boxOf(values: readonly string[], columns: Columns, fail: Fail): Box & { image: string } {
  const text = (name: Name): string => values[columns.get(name)!] ?? '';
  const share = (name: Name): number => {
    const value = text(name).trim() === '' ? NaN : Number(text(name));
    if (!Number.isFinite(value)) fail(`${name} must be a number, got '${text(name).slice(0, 40)}'`);
    return value;
  };
  const image = text('ImageID');
  if (!/^[\w-]{1,128}$/.test(image)) fail(`'${image.slice(0, 40)}' is no id of an image`);
  const [x, right, y, bottom] = [share('XMin'), share('XMax'), share('YMin'), share('YMax')];
  if (right < x || bottom < y) fail('XMax and YMax must not be below XMin and YMin');
  const set = Object.entries(flags).filter(
    ([name]) => columns.has(name as Name) && text(name as Name) === '1',
  );
  return {
    image,
    label: text('LabelName'),
    x,
    y,
    width: right - x,
    height: bottom - y,
    relative: true,
    ...Object.fromEntries(set.map(([, flag]) => [flag, true])),
  };
}

// Calls `use` with each row but empty ones; `fail` throws and says which row it was.
function eachRow(path: string, use: (row: string, fail: Fail) => void): Promise<void> {
  return withFile(path, async (file, size) => {
    const decoder = new StringDecoder('utf8');
    let number = 0;
    let rest = '';
    const take = (row: string): void => {
      number += 1;
      const text = number === 1 ? row.replace(/^\uFEFF/, '') : row;
      const trimmed = text.endsWith('\r') ? text.slice(0, -1) : text;
      if (trimmed === '') return;
      use(trimmed, (message) => {
        throw new FileError(`row ${number}: ${message}.`, path);
      });
    };
    for (let at = 0; at < size; at += chunk) {
      const bytes = await readBytes(path, file, at, Math.min(chunk, size - at));
      const rows = (rest + decoder.write(bytes)).split('\n');
      rest = rows.pop()!;
      rows.forEach(take);
      if (rest.length > longestRow)
        throw new FileError(`row ${number + 1} is too long for an annotation.`, path);
    }
    take(rest + decoder.end());
  });
}
