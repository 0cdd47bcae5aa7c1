// Pictures with what is said of them.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../errors.js';
import { readSmallFile } from '../io/positional.js';
import { readCaptionList, type CaptionedPath } from './caption_lists.js';
import type { Dataset, ImageItem } from './dataset.js';
import { ImageFolder, type ImageFolderOptions } from './image_folder.js';
import { linesOf } from './lines.js';

/** Longer ones are no captions. */
const largestCaption = 2 ** 20;
const readAtOnce = 64;

/** Pictures whose items have captions, one at least. */
export class CaptionedImages implements Dataset {
  readonly #entries: readonly CaptionedPath[];

  private constructor(
    readonly root: string,
    entries: readonly CaptionedPath[],
  ) {
    this.#entries = entries;
  }

  /**
   * The pictures of a folder, in {@link ImageFolder}'s order: the captions of `fox.jpg` are the lines of `fox.txt`
   * beside it.
   * @throws FileError when there are no pictures, or one has no caption
   */
  static async openFolder(
    root: string,
    { accept }: Pick<ImageFolderOptions, 'accept'> = {},
  ): Promise<CaptionedImages> {
    const { paths } = await ImageFolder.open(root, { accept });
    const entries: CaptionedPath[] = [];
    for (let from = 0; from < paths.length; from += readAtOnce)
      entries.push(
        ...(await Promise.all(
          paths.slice(from, from + readAtOnce).map(async (path) => {
            return { path, captions: await captionsBeside(join(root, path)) };
          }),
        )),
      );
    return new CaptionedImages(root, entries);
  }

  /**
   * The pictures of a list of captions; see {@link readCaptionList} for its forms.
   * @param root what the list's paths are relative to; none may lead out of it
   */
  static async openList(list: string, root: string): Promise<CaptionedImages> {
    if (!(await stat(root).catch(() => null))?.isDirectory())
      throw new FileError('is no folder of pictures.', root);
    return new CaptionedImages(root, await readCaptionList(list));
  }

  get length(): number {
    return this.#entries.length;
  }

  item(index: number): ImageItem {
    const { path, captions } = this.#entries[index];
    const file = join(this.root, path);
    return { path: file, source: { file }, captions };
  }
}

async function captionsBeside(picture: string): Promise<string[]> {
  const file = picture.replace(/\.[^.]+$/, '.txt');
  const text = (await readSmallFile(file, largestCaption, 'a caption')).toString();
  const captions = linesOf(text);
  if (captions.length === 0)
    throw new FileError('is empty, and every picture must have a caption.', file);
  return captions;
}
