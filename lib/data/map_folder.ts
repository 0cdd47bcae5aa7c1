// A folder of pictures beside a folder of label maps, as ADE20K and COCO-Stuff are laid out.
import { extname, join } from 'node:path';
import { FileError } from '../errors.js';
import type { Dataset, ImageItem } from './dataset.js';
import { ImageFolder } from './image_folder.js';

export interface MapFolderOptions {
  /** The pictures' folder below the root. Default `'images'`. */
  images?: string;
  /** And the maps': PNG files of the pictures' names but for the ending. Default `'annotations'`. */
  maps?: string;
}

const withoutEnding = (path: string): string => path.slice(0, path.length - extname(path).length);
const shown = 5;

/**
 * All pictures below one folder, each with the map of its name below another: `images/a/1.jpg` and
 * `annotations/a/1.png`. Maps without a picture are passed over.
 */
export class MapFolder implements Dataset {
  private constructor(
    private readonly pictures: ImageFolder,
    /** By the pictures' names without endings. */
    private readonly maps: ReadonlyMap<string, string>,
  ) {}

  /**
   * Lists both folders; no picture is opened.
   * @throws FileError when one cannot be read or is empty, or a picture has no map
   */
  static async open(root: string, options: MapFolderOptions = {}): Promise<MapFolder> {
    const { images = 'images', maps = 'annotations' } = options;
    const pictures = await ImageFolder.open(join(root, images));
    const folder = join(root, maps);
    const found = await ImageFolder.open(folder, {
      accept: (path) => extname(path).toLowerCase() === '.png',
    });
    const byName = new Map(found.paths.map((path) => [withoutEnding(path), join(folder, path)]));
    const lacking = pictures.paths.filter((path) => !byName.has(withoutEnding(path)));
    if (lacking.length > 0) {
      const names = lacking.slice(0, shown).join(', ');
      const more = lacking.length > shown ? ` and ${lacking.length - shown} more` : '';
      throw new FileError(
        `there is no label map for ${names}${more}: expected PNG files of the same names.`,
        folder,
      );
    }
    return new MapFolder(pictures, byName);
  }

  get length(): number {
    return this.pictures.length;
  }

  item(index: number): ImageItem {
    const map = this.maps.get(withoutEnding(this.pictures.paths[index]))!;
    return { ...this.pictures.item(index), map: { file: map } };
  }
}
