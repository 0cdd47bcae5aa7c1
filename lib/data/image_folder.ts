// A folder of pictures, with or without classes by folder.
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { check, FileError } from '../errors.js';
import { imageExtensions } from '../io/decode_image.js';
import { fileError } from '../io/file_error.js';
import type { Dataset, ImageItem } from './dataset.js';
import { readList } from './lines.js';

export interface ImageFolderOptions {
  /**
   * `'folders'`: the first folder below the root is a picture's class, as ImageNet is laid out. Default: no
   * labels.
   */
  labels?: 'folders';
  /**
   * Names of the classes; a label is a place in this list. Give the training set's `classes` to a validation
   * set. Default: the folders that hold pictures, in order.
   */
  classes?: readonly string[];
  /**
   * A file that says what the class folders mean, a folder's name and its words in a line, as ImageNet's
   * `LOC_synset_mapping.txt`: `n01440764 tench, Tinca tinca`. Default: folders are named as they mean.
   */
  words?: string;
  /** Whether to take a picture, by its path below the root, with slashes. Default: all are taken. */
  accept?: (path: string) => boolean;
}

/**
 * All pictures below a folder, by extension, in the order of the bytes of their paths: the same on every
 * machine. Links are followed.
 */
export class ImageFolder implements Dataset {
  /** The classes' folders by label; empty without labels. */
  readonly classes: readonly string[];
  /** What they are called, by label: their words where these were given. */
  readonly classNames: readonly string[];
  /** Below `root`, with slashes, in order. */
  readonly paths: readonly string[];
  readonly #labels?: ReadonlyMap<string, number>;

  private constructor(
    readonly root: string,
    paths: readonly string[],
    classes: readonly string[] | undefined,
    words?: ReadonlyMap<string, string>,
  ) {
    this.paths = paths;
    this.classes = classes ?? [];
    this.classNames = this.classes.map((folder) => words?.get(folder) ?? folder);
    if (classes) this.#labels = new Map(classes.map((name, label) => [name, label]));
  }

  /**
   * Lists the folder; no picture is opened.
   * @throws FileError when the folder cannot be read, holds no picture, holds one outside the classes,
   * links lead to one of its folders in more than 16 ways, or the words lack one of its classes
   */
  static async open(root: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
    const { labels, classes, words, accept = () => true } = options;
    const twice = classes?.find((name, label) => classes.indexOf(name) !== label);
    check(twice === undefined, () => `ImageFolder: class '${twice}' is named twice.`);
    check(labels === 'folders' || (classes ?? words) === undefined, () => {
      return "ImageFolder: classes or their words are given without labels: 'folders'.";
    });
    const listing: Listing = { root, found: [], visits: new Map() };
    await list(listing, '', []);
    const paths = inByteOrder(listing.found.filter(accept));
    if (paths.length === 0) {
      const endings = [...imageExtensions].join(', ');
      throw new FileError(`there is no picture in this folder (${endings}).`, root);
    }
    if (labels === undefined) return new ImageFolder(root, paths, undefined);
    const stray = paths.find((path) => !path.includes('/'));
    if (stray !== undefined)
      throw new FileError(`lies in no class folder; move it below a folder of ${root}.`, stray);
    const names = classes ?? [...new Set(paths.map(classOf))];
    const known = new Set(names);
    const unknown = paths.find((path) => !known.has(classOf(path)));
    if (unknown !== undefined)
      throw new FileError(
        `its folder is none of the ${names.length} classes given, those of the training pictures: move it to one ` +
          `of them, or add a folder ${classOf(unknown)} to those as well.`,
        join(root, unknown),
      );
    return new ImageFolder(
      root,
      paths,
      names,
      words === undefined ? undefined : await wordsOf(words, names),
    );
  }

  get length(): number {
    return this.paths.length;
  }

  item(index: number): ImageItem {
    const path = this.paths[index];
    const file = join(this.root, path);
    return { path: file, source: { file }, label: this.#labels?.get(classOf(path)) };
  }
}

async function wordsOf(file: string, folders: readonly string[]): Promise<Map<string, string>> {
  const lines = (await readList(file, "a list of classes' words")).split(/\r?\n/);
  const words = new Map(
    lines.flatMap((line) => {
      const [, folder, meaning] = /^(\S+)\s+(.*\S)/.exec(line) ?? [];
      return folder === undefined ? [] : [[folder, meaning] as const];
    }),
  );
  const missing = folders.find((folder) => !words.has(folder));
  if (missing !== undefined) throw new FileError(`has no words for the class ${missing}.`, file);
  return words;
}

const classOf = (path: string): string => path.slice(0, path.indexOf('/'));

// Strings of bytes sort as bytes; JavaScript's own order is that of UTF-16, which differs beyond U+D7FF.
function inByteOrder(paths: readonly string[]): string[] {
  return paths
    .map((path) => Buffer.from(path).toString('latin1'))
    .sort()
    .map((bytes) => Buffer.from(bytes, 'latin1').toString());
}

// Two links in each of a few dozen folders lead to the last of them in more ways than can be walked.
const mostWays = 16;

interface Listing {
  readonly root: string;
  /** Pictures below the root. */
  readonly found: string[];
  /** How often each folder was listed, by its identity. */
  readonly visits: Map<string, number>;
}

/** @param above identities of the folders on the way down, which a link must not lead back to */
async function list(listing: Listing, below: string, above: readonly string[]): Promise<void> {
  const { root, found, visits } = listing;
  const folder = join(root, below);
  let entries;
  let identity;
  try {
    const { dev, ino } = await stat(folder, { bigint: true });
    identity = `${dev}:${ino}`;
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw fileError(folder, 'cannot be listed', error);
  }
  if (above.includes(identity)) return;
  const ways = (visits.get(identity) ?? 0) + 1;
  if (ways > mostWays)
    throw new FileError(`links lead here in more than ${mostWays} ways; remove some.`, folder);
  visits.set(identity, ways);
  for (const entry of entries) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    const kind = entry.isSymbolicLink() ? await followed(join(root, path)) : entry;
    if (kind?.isDirectory()) await list(listing, path, [...above, identity]);
    else if (imageExtensions.has(extname(entry.name).toLowerCase())) {
      // A link that leads nowhere is listed, and named as damaged when its turn comes.
      if (kind === null || kind.isFile()) found.push(path);
    }
  }
}

async function followed(link: string) {
  try {
    return await stat(link);
  } catch {
    return null;
  }
}
