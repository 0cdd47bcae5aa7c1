// The demo's pictures: the 64-pixel emoji of the npm package emoji-datasource-google, on white, with
// captions made from their names and from the colour that dominates each drawing.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';

export const side = 64;
const bytesPerImage = side * side * 3;

/** Every picture of the demo with what is known about it. */
export interface EmojiSet {
  /** RGB bytes, picture after picture, rows from the top. */
  readonly pixels: Uint8Array;
  readonly count: number;
  /** Lower-case words, without punctuation. */
  readonly captions: readonly string[];
  /** Index into `categories`, per picture. */
  readonly category: readonly number[];
  readonly categories: readonly string[];
}

/** What the package says of a drawing. */
export interface EmojiEntry {
  name: string;
  short_name: string;
  category: string;
  subcategory: string;
  image: string;
  has_img_google: boolean;
}

const plain = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ')
    .trim();

/** The package's drawings in its order, and the folder of their files of 64 x 64 pixels. */
export async function listEmoji(): Promise<{ folder: string; drawn: EmojiEntry[] }> {
  const root = dirname(
    createRequire(import.meta.url).resolve('emoji-datasource-google/package.json'),
  );
  const listed = JSON.parse(await readFile(join(root, 'emoji.json'), 'utf8')) as EmojiEntry[];
  // Five skin-tone swatches are no drawings of their own.
  const drawn = listed.filter((entry) => entry.has_img_google && entry.category !== 'Component');
  return { folder: join(root, 'img/google/64'), drawn };
}

/**
 * Reads the pictures, in the package's order.
 * @param limit at most this many, spread evenly.
 */
export async function loadEmoji(limit = Infinity): Promise<EmojiSet> {
  const { folder, drawn } = await listEmoji();
  const step = Math.max(1, drawn.length / limit);
  const entries = Array.from(
    { length: Math.floor(drawn.length / step) },
    (_, i) => drawn[Math.floor(i * step)],
  );

  const pixels = new Uint8Array(entries.length * bytesPerImage);
  for (let from = 0; from < entries.length; from += 64)
    await Promise.all(
      entries.slice(from, from + 64).map(async ({ image }, i) => {
        const raw = await sharp(join(folder, image))
          .resize(side, side)
          .flatten({ background: '#ffffff' })
          .removeAlpha()
          .raw()
          .toBuffer();
        pixels.set(raw, (from + i) * bytesPerImage);
      }),
    );

  const categories = [...new Set(entries.map((entry) => entry.category))].sort();
  return {
    pixels,
    count: entries.length,
    captions: entries.map((entry, i) => {
      const picture = pixels.subarray(i * bytesPerImage, (i + 1) * bytesPerImage);
      const words = new Set([
        ...colourWords(picture),
        ...plain(entry.name).split(' '),
        ...plain(entry.short_name).split(' '),
      ]);
      return [...words].join(' ');
    }),
    category: entries.map((entry) => categories.indexOf(entry.category)),
    categories,
  };
}

/** Positions of the pictures held out of all training: every 20th. */
export const isHeldOut = (index: number): boolean => index % 20 === 7;

const hues: [number, string][] = [
  [16, 'red'],
  [42, 'orange'],
  [68, 'yellow'],
  [165, 'green'],
  [260, 'blue'],
  [300, 'purple'],
  [345, 'pink'],
  [361, 'red'],
];

// The colour name that most pixels outside the background have, if it covers enough of them.
export function colourWords(picture: Uint8Array): string[] {
  const counts = new Map<string, number>();
  let total = 0;
  for (let i = 0; i < picture.length; i += 3) {
    const [r, g, b] = [picture[i], picture[i + 1], picture[i + 2]];
    const [high, low] = [Math.max(r, g, b), Math.min(r, g, b)];
    if (low > 240) continue;
    ++total;
    const name = colourName(r, g, b, high, low);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const [best] = [...counts].sort((a, b) => b[1] - a[1]);
  return best && best[1] > 0.4 * total ? [best[0]] : [];
}

function colourName(r: number, g: number, b: number, high: number, low: number): string {
  const range = high - low;
  if (high < 70) return 'black';
  if (range < 30) return high > 190 ? 'white' : 'grey';
  const sector =
    high === r ? (g - b) / range : high === g ? 2 + (b - r) / range : 4 + (r - g) / range;
  const hue = (sector * 60 + 360) % 360;
  if (hue >= 10 && hue < 42 && high < 170) return 'brown';
  return hues.find(([end]) => hue < end)![1];
}
