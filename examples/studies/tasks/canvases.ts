// Scenes for the tasks with boxes and maps: a few emoji side by side on white, known to the pixel. A canvas is
// a function of (seed, index), so that nothing is stored.
import { join } from 'node:path';
import sharp from 'sharp';
import type { Dataset } from '../../../lib/index.js';
import { philox } from '../../../lib/data/philox.js';
import { isHeldOut, listEmoji, side as drawingSide, type EmojiEntry } from '../../demo/emoji.js';

/** What lies on the canvases: kinds of emoji that are told apart by their looks. */
export const canvasClasses = [
  'face',
  'heart',
  'person',
  'vehicle',
  'fruit',
  'clock',
  'flag',
  'sign',
] as const;

const vehicles =
  /train|tram|bus$|car$|taxi|truck|lorry|ambulance|fire_engine|automobile|minibus|metro|rail$|locomotive|tractor|racing/;

function classOf({ subcategory, short_name: name }: EmojiEntry): number {
  const found = ((): (typeof canvasClasses)[number] | undefined => {
    if (/^face-(?!costume|negative)/.test(subcategory)) return 'face';
    if (subcategory === 'person-role') return 'person';
    if (subcategory === 'transport-ground' && vehicles.test(name)) return 'vehicle';
    if (subcategory === 'food-fruit') return 'fruit';
    if (subcategory === 'time' && /^clock\d/.test(name)) return 'clock';
    if (subcategory === 'country-flag') return 'flag';
    if (subcategory === 'arrow' || subcategory === 'keycap') return 'sign';
    return subcategory === 'heart' ? 'heart' : undefined;
  })();
  return found ? canvasClasses.indexOf(found) : -1;
}

/** A drawing cut out tightly, to be put on a canvas. */
interface Sticker {
  /** Red, green, blue and alpha, rows from the top. */
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Drawings by class: `stickers[label]` is never empty. */
export type StickerSet = readonly (readonly Sticker[])[];

/** Reads the drawings of every class: those held out of all training, or all others. */
export async function loadStickers(options: { heldOut: boolean }): Promise<StickerSet> {
  const { folder, drawn } = await listEmoji();
  const sets: Sticker[][] = canvasClasses.map(() => []);
  for (const [index, entry] of drawn.entries()) {
    const label = classOf(entry);
    if (label >= 0 && isHeldOut(index) === options.heldOut)
      sets[label].push(await cutOut(join(folder, entry.image)));
  }
  return sets;
}

const opaque = 128;

async function cutOut(file: string): Promise<Sticker> {
  const data = await sharp(file).resize(drawingSide).ensureAlpha().raw().toBuffer();
  let [left, top, right, bottom] = [drawingSide, drawingSide, -1, -1];
  for (let y = 0; y < drawingSide; ++y)
    for (let x = 0; x < drawingSide; ++x)
      if (data[4 * (y * drawingSide + x) + 3] >= opaque) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
  const [width, height] = [right - left + 1, bottom - top + 1];
  const pixels = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; ++y) {
    const from = 4 * ((top + y) * drawingSide + left);
    pixels.set(data.subarray(from, from + 4 * width), 4 * y * width);
  }
  return { pixels, width, height };
}

/** An object on a canvas: `label` counts `canvasClasses`, the rest are pixels. */
export interface CanvasBox {
  readonly label: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Canvas {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly pixels: Uint8Array;
  /** [height, width]: 0 is the background, n + 1 the class n of `canvasClasses`. */
  readonly map: Uint8Array;
  /** From back to front. */
  readonly boxes: readonly CanvasBox[];
}

export interface CanvasOptions {
  seed: number;
  /** Default 64. */
  width?: number;
  /** Default 64. */
  height?: number;
  /** Fewest and most objects. Default: 2 to 4 on each 64 x 64 pixels. */
  objects?: readonly [min: number, max: number];
  /** Pixels of an object's longer side. Default 20 to 36. */
  sizes?: readonly [min: number, max: number];
  /** Upper left corners and longer sides are multiples of this many pixels. Default 1. */
  raster?: number;
}

const stream = 0xca7a_0001;
const tries = 24;
// Of the smaller of two boxes: what may be covered.
const overlapAllowed = 0.08;

/**
 * Canvas number `index` of a seed. Classes are equally frequent, and so are a class's drawings; an object that
 * finds no place is left out, the first never.
 */
export function makeCanvas(stickers: StickerSet, index: number, options: CanvasOptions): Canvas {
  const { seed, width = 64, height = 64 } = options;
  const area = (width * height) / 64 ** 2;
  const [fewest, most] = options.objects ?? [
    Math.max(1, Math.round(2 * area)),
    Math.max(1, Math.round(4 * area)),
  ];
  const [smallest, largest] = options.sizes ?? [20, 36];
  const { raster = 1 } = options;
  const random = drawer(seed, index);
  const canvas: Canvas & { boxes: CanvasBox[] } = {
    width,
    height,
    pixels: new Uint8Array(width * height * 3).fill(255),
    map: new Uint8Array(width * height),
    boxes: [],
  };
  const count = fewest + Math.floor(random() * (most - fewest + 1));
  for (let i = 0; i < count; ++i) {
    const label = Math.floor(random() * stickers.length);
    const sticker = stickers[label][Math.floor(random() * stickers[label].length)];
    const wanted = smallest + random() * (largest - smallest);
    for (let attempt = 0; attempt < tries; ++attempt) {
      // Each try is a little smaller, so that the last ones fit between the others.
      const exact = smallest + (wanted - smallest) * (1 - attempt / tries);
      const longer = raster === 1 ? exact : raster * Math.round(exact / raster);
      const scale = longer / Math.max(sticker.width, sticker.height);
      const w = Math.min(width, Math.max(1, Math.round(sticker.width * scale)));
      const h = Math.min(height, Math.max(1, Math.round(sticker.height * scale)));
      const x = raster * Math.floor(random() * (Math.floor((width - w) / raster) + 1));
      const y = raster * Math.floor(random() * (Math.floor((height - h) / raster) + 1));
      const box = { label, x, y, width: w, height: h };
      if (canvas.boxes.some((other) => overlap(box, other) > overlapAllowed)) continue;
      paste(canvas, sticker, box);
      canvas.boxes.push(box);
      break;
    }
  }
  return canvas;
}

// Uniform numbers in [0, 1), one after the other.
function drawer(seed: number, index: number): () => number {
  let words: readonly number[] = [];
  let drawn = 0;
  return () => {
    if (drawn % 4 === 0) words = philox(seed, stream, 0, index, drawn / 4);
    return words[drawn++ % 4] / 2 ** 32;
  };
}

function overlap(a: CanvasBox, b: CanvasBox): number {
  const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  const smaller = Math.min(a.width * a.height, b.width * b.height);
  return w > 0 && h > 0 ? (w * h) / smaller : 0;
}

function paste(canvas: Canvas, sticker: Sticker, box: CanvasBox): void {
  const columns = spans(sticker.width, box.width);
  for (const [row, [top, bottom]] of spans(sticker.height, box.height).entries())
    for (const [column, [left, right]] of columns.entries()) {
      const [r, g, b, alpha] = mean(sticker, top, bottom, left, right);
      const at = (box.y + row) * canvas.width + box.x + column;
      for (const [channel, value] of [r, g, b].entries()) {
        const behind = canvas.pixels[3 * at + channel];
        canvas.pixels[3 * at + channel] = Math.round(value + behind * (1 - alpha));
      }
      if (alpha * 255 >= opaque) canvas.map[at] = box.label + 1;
    }
}

// Which source pixels each target pixel is the mean of.
const spans = (from: number, to: number): [number, number][] =>
  Array.from({ length: to }, (_, i) => {
    const first = Math.floor((i * from) / to);
    return [first, Math.max(first + 1, Math.floor(((i + 1) * from) / to))];
  });

// Colours multiplied by alpha, and alpha in 0..1.
function mean(
  { pixels, width }: Sticker,
  top: number,
  bottom: number,
  left: number,
  right: number,
): [number, number, number, number] {
  const sum: [number, number, number, number] = [0, 0, 0, 0];
  for (let y = top; y < bottom; ++y)
    for (let x = left; x < right; ++x) {
      const at = 4 * (y * width + x);
      const alpha = pixels[at + 3] / 255;
      for (let channel = 0; channel < 3; ++channel) sum[channel] += pixels[at + channel] * alpha;
      sum[3] += alpha;
    }
  const count = (bottom - top) * (right - left);
  return sum.map((value) => value / count) as typeof sum;
}

/**
 * Canvases as a data set whose pictures have boxes and a map; each is made when it is wanted.
 *
 * @param options.count pictures in the set, numbered from `options.from` (default 0) on
 */
export function canvasDataset(
  stickers: StickerSet,
  options: CanvasOptions & { count: number; from?: number },
): Dataset {
  const { count, from = 0 } = options;
  return {
    length: count,
    item(index) {
      const { pixels, map, boxes, width, height } = makeCanvas(stickers, from + index, options);
      return {
        path: `canvas ${from + index}`,
        source: { pixels: { data: pixels, width, height, channels: 3 } },
        map: { pixels: { data: map, width, height, channels: 1 } },
        boxes,
      };
    },
  };
}
