// Pictures with boxes around the things in them, as COCO and OpenImages annotate theirs.
import { join } from 'node:path';
import { check, FileError } from '../errors.js';
import { suggestion } from '../suggestion.js';
import { readCoco } from './annotations_coco.js';
import { readOpenImages } from './annotations_open_images.js';
import type { Dataset, ImageItem, LabelledBox } from './dataset.js';
import { damageOf } from './lines.js';

/** A kind of thing. */
export interface Category {
  /** As the annotations name it: a number's digits in COCO, such as `/m/011k07` in OpenImages. */
  readonly id: string;
  /** In words. */
  readonly name: string;
}

/** What of annotations is taken. */
export interface AnnotationOptions {
  /** Objects must cover more than this share of their picture. Default 0. */
  minObjectArea?: number;
  /** Pictures with fewer objects are left out. Default 1; the original's 2. */
  minObjects?: number;
  /** And so are pictures with more. Default 30. */
  maxObjects?: number;
  /** Names or ids of the only categories that count. Default: all. */
  only?: readonly string[];
  /** Names or ids of categories that do not. */
  without?: readonly string[];
  /** Ids of categories that count as another, by that one's id. */
  merge?: Readonly<Record<string, string>>;
  /**
   * COCO's crowds: objects like all others (`'plain'`, as the original has it, which meant to mark them), marked
   * as groups, or left out. Default `'plain'`.
   */
  crowds?: 'plain' | 'group' | 'skip';
}

/** What a reader of annotations finds. Labels of boxes are ids of categories. */
export interface Annotations {
  readonly categories: readonly Category[];
  readonly pictures: readonly {
    /** Below the folder of the pictures, with slashes. */
    readonly file: string;
    readonly boxes: readonly (LabelledBox & {
      readonly label: string;
      readonly isCrowd?: boolean;
    })[];
    /** In pixels; 1 and 1 where boxes are relative. */
    readonly width: number;
    readonly height: number;
  }[];
}

// The original puts this one, OpenImages' "Footwear", behind all others.
const lastId = '/m/01s55n';

/**
 * Annotated pictures. Categories are numbered in the order of their ids as texts, which is the original's, and
 * the labels of boxes are these numbers. What of a box lies outside its picture is cut off; a box of which
 * nothing is left is left out.
 */
export class AnnotatedImages implements Dataset {
  /** By number. */
  readonly categories: readonly Category[];
  readonly #items: readonly ImageItem[];

  private constructor(categories: readonly Category[], items: readonly ImageItem[]) {
    this.categories = categories;
    this.#items = items;
  }

  /**
   * Reads annotations in COCO's form. No picture is opened.
   *
   * @param files of one set of pictures: the instances', the stuff's, or both
   * @param root what file names in them are relative to; none may lead out of it
   * @throws FileError that names the file and the entry that is damaged, or when no picture is left
   */
  static async openCoco(
    files: string | readonly string[],
    root: string,
    options: AnnotationOptions = {},
  ): Promise<AnnotatedImages> {
    const paths = typeof files === 'string' ? [files] : files;
    check(paths.length > 0, () => 'AnnotatedImages: name at least one file of annotations.');
    return AnnotatedImages.#made(await readCoco(paths), paths[0], root, options);
  }

  /**
   * Reads annotations in the form of OpenImages. No picture is opened.
   *
   * @param files.boxes a row for each box, with a first row of names
   * @param files.classes a row for each category: its id, its name
   * @param root the folder of the pictures, `ID.jpg`
   * @throws as {@link openCoco}
   */
  static async openOpenImages(
    files: { boxes: string; classes: string },
    root: string,
    options: AnnotationOptions = {},
  ): Promise<AnnotatedImages> {
    return AnnotatedImages.#made(await readOpenImages(files), files.boxes, root, options);
  }

  get length(): number {
    return this.#items.length;
  }

  item(index: number): ImageItem {
    return this.#items[index];
  }

  static #made(
    { categories: all, pictures }: Annotations,
    origin: string,
    root: string,
    options: AnnotationOptions,
  ): AnnotatedImages {
    const { minObjectArea = 0, minObjects = 1, maxObjects = 30, crowds = 'plain' } = options;
    check(minObjectArea >= 0 && minObjectArea < 1, () => {
      return `AnnotatedImages: minObjectArea is a share of the picture, in [0, 1). Got ${minObjectArea}.`;
    });
    check(Number.isInteger(minObjects) && minObjects >= 0 && maxObjects >= minObjects, () => {
      return `AnnotatedImages: expected 0 <= minObjects <= maxObjects. Got ${minObjects} and ${maxObjects}.`;
    });
    const categories = numbered(all, options);
    const numbers = new Map(categories.map(({ id }, number) => [id, number]));
    const { merge = {} } = options;
    const numberOf = (id: string) => numbers.get(Object.hasOwn(merge, id) ? merge[id] : id);
    const items: ImageItem[] = [];
    for (const { file, boxes, width, height } of pictures) {
      const kept: LabelledBox[] = [];
      for (const { isCrowd = false, ...box } of boxes) {
        const label = numberOf(box.label);
        const inside = clipped(box, width, height);
        const area = (inside.width * inside.height) / (width * height);
        if (label === undefined || (isCrowd && crowds === 'skip') || !(area > minObjectArea))
          continue;
        kept.push({ ...inside, label, ...(isCrowd && crowds === 'group' && { isGroupOf: true }) });
      }
      if (kept.length < minObjects || kept.length > maxObjects) continue;
      const damage = damageOf(file);
      if (damage !== undefined) throw new FileError(`${damage}.`, origin);
      const path = join(root, file);
      items.push({ path, source: { file: path }, boxes: kept });
    }
    if (items.length === 0) {
      const text =
        `no picture has ${minObjects} to ${maxObjects} objects that cover more than ${minObjectArea} of it, ` +
        `of ${pictures.length} pictures with ${categories.length} categories.`;
      throw new FileError(text, origin);
    }
    return new AnnotatedImages(categories, items);
  }
}

function numbered(
  all: readonly Category[],
  { only, without = [], merge = {} }: AnnotationOptions,
): Category[] {
  const known = new Set(all.flatMap(({ id, name }) => [id, name]));
  for (const each of [...(only ?? []), ...without, ...Object.keys(merge), ...Object.values(merge)])
    check(known.has(each), () => {
      return `AnnotatedImages: there is no category '${each}'.${suggestion(each, known)}`;
    });
  const named = (list: readonly string[], { id, name }: Category) =>
    list.includes(id) || list.includes(name);
  return all
    .filter((each) => !named(without, each) && !Object.hasOwn(merge, each.id))
    .filter((each) => only === undefined || named(only, each))
    .sort((a, b) => {
      if (a.id === lastId || b.id === lastId)
        return Number(a.id === lastId) - Number(b.id === lastId);
      return a.id < b.id ? -1 : Number(a.id > b.id);
    });
}

function clipped<Box extends LabelledBox>(box: Box, width: number, height: number): Box {
  const x = Math.max(0, box.x);
  const y = Math.max(0, box.y);
  return {
    ...box,
    x,
    y,
    width: Math.max(0, Math.min(width, box.x + box.width) - x),
    height: Math.max(0, Math.min(height, box.y + box.height) - y),
  };
}
