// COCO's annotations: one JSON of images, annotations and categories.
import { FileError } from '../errors.js';
import { isRecord, parseJson } from '../io/json.js';
import { readSmallFile } from '../io/positional.js';
import type { Annotations, Category } from './annotations.js';

// Above this a JavaScript string ends; the largest file of COCO 2017 has 450 MB.
const largest = 2 ** 29 - 24;

type Box = Annotations['pictures'][number]['boxes'][number];

interface Picture {
  file: string;
  width: number;
  height: number;
  boxes: Box[];
}

/**
 * Reads files that annotate one set of pictures.
 * @throws FileError that names the entry that is damaged
 */
export async function readCoco(paths: readonly string[]): Promise<Annotations> {
  const categories = new Map<string, Category>();
  const pictures = new Map<string, Picture>();
  for (const path of paths) {
    const file = new CocoFile(path, await readSmallFile(path, largest, 'annotations'));
    file.entries('categories').forEach((entry, i) => {
      const id = file.id(entry.id, `categories[${i}].id`);
      const name = file.text(entry.name, `categories[${i}].name`);
      const known = categories.get(id);
      if (known && known.name !== name)
        file.fail(`category ${id} is '${name}' in one place and '${known.name}' in another.`);
      categories.set(id, { id, name });
    });
    file.entries('images').forEach((entry, i) => {
      const id = file.id(entry.id, `images[${i}].id`);
      const picture = {
        file: file.text(entry.file_name, `images[${i}].file_name`),
        width: file.side(entry.width, `images[${i}].width`),
        height: file.side(entry.height, `images[${i}].height`),
      };
      const known = pictures.get(id);
      if (known && known.file !== picture.file)
        file.fail(`image ${id} is '${picture.file}' in one place and '${known.file}' in another.`);
      if (!known) pictures.set(id, { ...picture, boxes: [] });
    });
    file.entries('annotations').forEach((entry, i) => {
      const name = `annotations[${i}]`;
      const picture = pictures.get(file.id(entry.image_id, `${name}.image_id`));
      if (!picture) file.fail(`${name}: there is no image with the id ${String(entry.image_id)}.`);
      const label = file.id(entry.category_id, `${name}.category_id`);
      if (!categories.has(label)) file.fail(`${name}: there is no category with the id ${label}.`);
      const [x, y, width, height] = file.box(entry.bbox, `${name}.bbox`);
      const isCrowd = entry.iscrowd === 1 || entry.iscrowd === true;
      picture!.boxes.push({ label, x, y, width, height, ...(isCrowd && { isCrowd }) });
    });
  }
  return { categories: [...categories.values()], pictures: [...pictures.values()] };
}

/** Reads values of one file, and says where they are wrong. */
class CocoFile {
  readonly #root: Record<string, unknown>;

  constructor(
    private readonly path: string,
    bytes: Buffer,
  ) {
    const root = parseJson(bytes.toString(), path);
    if (!isRecord(root)) this.fail('expected an object of images, annotations and categories.');
    this.#root = root as Record<string, unknown>;
  }

  fail(message: string): never {
    throw new FileError(message, this.path);
  }

  entries(name: string): Record<string, unknown>[] {
    const list = this.#root[name];
    if (!Array.isArray(list))
      this.fail(`${name} must be a list. Is this an annotation of COCO's form?`);
    const wrong = list.findIndex((entry) => !isRecord(entry));
    if (wrong >= 0) this.fail(`${name}[${wrong}] must be an object.`);
    return list as Record<string, unknown>[];
  }

  /** Ids are whole numbers or texts; either is known by its text. */
  id(value: unknown, name: string): string {
    if (Number.isSafeInteger(value)) return String(value);
    return this.text(value, name);
  }

  text(value: unknown, name: string): string {
    if (typeof value === 'string' && value !== '') return value;
    return this.fail(`${name} is missing, or not what it should be. Got ${shown(value)}.`);
  }

  side(value: unknown, name: string): number {
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    return this.fail(`${name} must be a positive whole number. Got ${shown(value)}.`);
  }

  box(value: unknown, name: string): [number, number, number, number] {
    const isBox =
      Array.isArray(value) &&
      value.length === 4 &&
      value.every(Number.isFinite) &&
      (value[2] as number) >= 0 &&
      (value[3] as number) >= 0;
    if (isBox) return value as [number, number, number, number];
    return this.fail(
      `${name} must be [x, y, width, height] in pixels, with no negative size. Got ${shown(value)}.`,
    );
  }
}

const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 80);
