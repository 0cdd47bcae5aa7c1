// Masks for inpainting: a family and a key make one.
import { check } from '../../errors.js';
import { Draws, type MaskKey } from './draws.js';
import {
  checkMaskFamily,
  maskFamilies,
  type BorderFamily,
  type BoxFamily,
  type MaskFamily,
  type MaskFamilyName,
  type StrokeFamily,
} from './families.js';
import { fillBox, fillStroke, type Canvas } from './raster.js';

/** How much of a picture a mask may cover. */
export interface MaskLimits {
  /** Share that is to be made at least. Default: one pixel. 0 allows masks that are empty. */
  readonly least?: number;
  /** Share that is to be made at most. Default: all but one pixel. 1 allows masks that leave nothing known. */
  readonly most?: number;
}

/** Side of the picture that lengths of families are given for. */
const reference = 256;
/** Masks beyond the limits are drawn again so often. */
const attempts = 32;

/**
 * Draws a mask, a function of its arguments alone.
 *
 * A mask beyond the limits is drawn again. Where they leave a family next to no chance, the mask is in the end
 * a band along the top that lies midway between them.
 *
 * @param family or its name in {@link maskFamilies}
 * @returns bytes [height, width]: 1 is to be made, 0 is known
 * @throws ArgumentError for a seed, size, family or limits that are impossible
 */
export function drawMask(
  family: MaskFamily | MaskFamilyName,
  { height, width }: { height: number; width: number },
  key: MaskKey,
  limits: MaskLimits = {},
): Uint8Array {
  const drawn = typeof family === 'string' ? maskFamilies[family] : family;
  check(drawn, () => {
    const known = Object.keys(maskFamilies).join(', ');
    return `drawMask: there is no family '${String(family)}'. Known are ${known}.`;
  });
  checkMaskFamily(drawn);
  check(Number.isSafeInteger(key.seed), () => {
    return `drawMask: the seed must be an integer. Got ${key.seed}.`;
  });
  for (const side of [height, width])
    check(Number.isInteger(side) && side >= 1 && side <= 2 ** 15, () => {
      return `drawMask: sides must be integers from 1 to ${2 ** 15}. Got ${height} x ${width}.`;
    });
  const pixels = height * width;
  const [least, most] = pixelsWithin(limits, pixels);
  const draws = new Draws(key);
  const canvas: Canvas = { data: new Uint8Array(pixels), width, height };
  for (let attempt = 0; attempt < attempts; ++attempt) {
    paint(canvas, drawn, draws);
    const made = pixelsMade(canvas.data);
    if (made >= least && made <= most) return canvas.data;
    canvas.data.fill(0);
  }
  return canvas.data.fill(1, 0, Math.floor((least + most) / 2));
}

function pixelsWithin({ least, most }: MaskLimits, pixels: number): [number, number] {
  for (const share of [least, most])
    check(share === undefined || (share >= 0 && share <= 1), () => {
      return `drawMask: least and most are shares of the picture in [0, 1]. Got ${share}.`;
    });
  const range: [number, number] = [
    least === undefined ? 1 : Math.ceil(least * pixels),
    most === undefined ? pixels - 1 : Math.floor(most * pixels),
  ];
  check(range[0] <= range[1], () => {
    const text = `at least ${least ?? 'one pixel'} and at most ${most ?? 'all but one pixel'}`;
    return `drawMask: of ${pixels} ${pixels === 1 ? 'pixel' : 'pixels'} no mask covers ${text}.`;
  });
  return range;
}

function pixelsMade(mask: Uint8Array): number {
  let made = 0;
  for (const byte of mask) made += byte;
  return made;
}

function paint(canvas: Canvas, family: MaskFamily, draws: Draws): void {
  switch (family.kind) {
    case 'strokes':
      return paintStrokes(canvas, family, draws);
    case 'boxes':
      return paintBoxes(canvas, family, draws);
    case 'border':
      return paintBorders(canvas, family, draws);
    case 'mixture':
      return paint(canvas, chosen(family.of, draws).family, draws);
  }
}

function chosen<T extends { weight: number }>(entries: readonly T[], draws: Draws): T {
  const able = entries.filter(({ weight }) => weight > 0);
  let left = draws.share() * able.reduce((sum, { weight }) => sum + weight, 0);
  return able.find(({ weight }) => (left -= weight) < 0) ?? able[able.length - 1];
}

// Pieces lean by 0 to 3 radians from straight down, to the other side in every second stroke.
function paintStrokes(canvas: Canvas, { count, length, width }: StrokeFamily, draws: Draws): void {
  const scale = Math.min(canvas.width, canvas.height) / reference;
  const strokes = draws.whole(...count);
  for (let stroke = 0; stroke < strokes; ++stroke) {
    let from = { x: draws.whole(0, canvas.width - 1), y: draws.whole(0, canvas.height - 1) };
    const pieces = draws.whole(1, 5);
    for (let piece = 0; piece < pieces; ++piece) {
      const angle = draws.whole(0, 3) * (stroke % 2 === 0 ? -1 : 1);
      const reach = draws.whole(...length) * scale;
      const brush = Math.max(1, draws.whole(...width) * scale);
      const to = {
        x: clamp(from.x + reach * Math.sin(angle), canvas.width),
        y: clamp(from.y + reach * Math.cos(angle), canvas.height),
      };
      fillStroke(canvas, from, to, brush / 2);
      from = to;
    }
  }
}

const clamp = (x: number, most: number): number => Math.min(most, Math.max(0, x));

function paintBoxes(canvas: Canvas, { count, side, margin }: BoxFamily, draws: Draws): void {
  const scale = Math.min(canvas.width, canvas.height) / reference;
  const edge = Math.floor(margin * scale);
  // A canvas of a pixel or two has no room for a box beside its margins, and gets one of a pixel.
  const within = (extent: number) => Math.max(1, extent - 2 * edge);
  const boxes = draws.whole(...count);
  for (let box = 0; box < boxes; ++box) {
    const extent = (most: number) =>
      Math.min(most, Math.max(1, Math.round(draws.whole(...side) * scale)));
    const width = extent(within(canvas.width));
    const height = extent(within(canvas.height));
    const left = edge + draws.whole(0, within(canvas.width) - width);
    const top = edge + draws.whole(0, within(canvas.height) - height);
    fillBox(canvas, { left, top, width, height });
  }
}

function paintBorders(canvas: Canvas, { share, chances }: BorderFamily, draws: Draws): void {
  const { width, height } = canvas;
  const [least, most] = share;
  const depth = (extent: number) => Math.round((least + (most - least) * draws.share()) * extent);
  const [left, top, right, bottom] = [width, height, width, height].map(depth);
  const sides = [
    { left: 0, top: 0, width: left, height },
    { left: 0, top: 0, width, height: top },
    { left: width - right, top: 0, width: right, height },
    { left: 0, top: height - bottom, width, height: bottom },
  ];
  const taken = sides.filter((_, i) => draws.share() < chances[i]);
  const entries = sides.map((side, i) => ({ side, weight: chances[i] }));
  for (const side of taken.length > 0 ? taken : [chosen(entries, draws).side])
    fillBox(canvas, side);
}
