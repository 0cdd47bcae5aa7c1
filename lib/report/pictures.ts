// Pictures inside a page: as data URIs, made smaller where they are larger than a screen shows.
import { readFile, stat } from 'node:fs/promises';
import sharp, { type Sharp } from 'sharp';

/** A picture that needs no file beside the page. */
export interface EmbeddedPicture {
  readonly uri: string;
  readonly width: number;
  readonly height: number;
}

const kinds: Readonly<Record<string, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
};
const largestFile = 256 * 2 ** 20;
const mostPixels = 2 ** 28;
/** A lossless picture above this is stored with losses. */
const largestLossless = 128 * 2 ** 10;

/** Embeds pictures until the page would become too large to send around. */
export class PictureShelf {
  private free: number;

  /** @param bytes that all pictures may take together. Default 24 MiB */
  constructor(bytes = 24 * 2 ** 20) {
    this.free = bytes;
  }

  /**
   * @param side the longest that is kept
   * @returns why there is no picture, where there is none
   */
  async embed(path: string, side = 1200): Promise<EmbeddedPicture | string> {
    try {
      const entry = await stat(path);
      if (!entry.isFile() || entry.size > largestFile) return 'it is no file, or too large a one';
      const bytes = await readFile(path);
      const source = sharp(bytes, { limitInputPixels: mostPixels });
      const { format = '', width = 0, height = 0 } = await source.metadata();
      // Other formats, SVG above all, can name further files.
      if (!(format in kinds)) return 'it is not a PNG, JPEG or WebP picture';
      const isLarge = Math.max(width, height) > side;
      if (isLarge) source.resize(side, side, { fit: 'inside' });
      const isSmallFile = bytes.length <= largestLossless;
      const kept = isSmallFile && !isLarge ? bytes : await smallest(source);
      if (kept.length > this.free) return 'the page has no room left for pictures';
      this.free -= kept.length;
      const shown = await sharp(kept).metadata();
      const uri = `data:${kinds[shown.format!]};base64,${kept.toString('base64')}`;
      return { uri, width: shown.width, height: shown.height };
    } catch {
      return 'it cannot be read';
    }
  }
}

async function smallest(source: Sharp): Promise<Buffer> {
  const png = await source.clone().png({ compressionLevel: 9 }).toBuffer();
  return png.length <= largestLossless ? png : source.webp({ quality: 84 }).toBuffer();
}
