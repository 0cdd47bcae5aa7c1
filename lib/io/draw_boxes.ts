// Boxes drawn on white, each in a colour of its own with its name: what a layout asks for, to be looked at.
import { check } from '../errors.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { drawing, escaped } from './drawing.js';
import { writeImage } from './image.js';

/** A box in shares of the drawing, from its upper left corner. */
export interface DrawnBox {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly label: string;
}

const colours = [
  '#1f77b4',
  '#ff7f0e',
  '#2ca02c',
  '#d62728',
  '#9467bd',
  '#8c564b',
  '#e377c2',
  '#7f7f7f',
  '#bcbd22',
  '#17becf',
];
const lineWidth = 3;
const longestLabel = 40;
const longestSide = 16_384;

/** Sides of a drawing in pixels, each 256 by default. */
export interface BoxDrawingSize {
  width?: number;
  height?: number;
}

/**
 * Draws boxes on white, as the original's log does: rectangles of 3 pixels in a cycle of ten colours, each with its
 * label.
 *
 * ```ts
 * const drawing = await drawBoxes([{ x: 0.1, y: 0.4, width: 0.5, height: 0.6, label: 'dog' }]);
 * ```
 *
 * @returns [height, width, 3] in [-1, 1]
 * @throws ArgumentError for sides that are no whole numbers from 1 to 16384, or a box that is none
 */
export async function drawBoxes(
  boxes: readonly DrawnBox[],
  { width = 256, height = 256 }: BoxDrawingSize = {},
): Promise<Tensor> {
  const isSide = (side: number) => Number.isInteger(side) && side >= 1 && side <= longestSide;
  check(isSide(width) && isSide(height), () => {
    return `drawBoxes: width and height are whole numbers from 1 to ${longestSide}. Got ${width} and ${height}.`;
  });
  boxes.forEach(({ x, y, width: w, height: h, label }, i) => {
    check([x, y, w, h].every(Number.isFinite), () => {
      return `drawBoxes: x, y, width and height of box ${i} (${label}) are numbers. Got ${[x, y, w, h].join(', ')}.`;
    });
  });
  const drawn = boxes.map((box, i) => drawBox(box, colours[i % colours.length], width, height));
  return drawing(drawn, { width, height }, 14);
}

/** Writes what {@link drawBoxes} draws; the extension of `path` chooses PNG, JPEG or WebP. */
export async function writeBoxes(
  path: string,
  boxes: readonly DrawnBox[],
  size: BoxDrawingSize = {},
): Promise<void> {
  await tidy(async () => writeImage(path, await drawBoxes(boxes, size)));
}

function drawBox(box: DrawnBox, colour: string, width: number, height: number): string {
  const half = lineWidth / 2;
  const [x, y] = [box.x * width + half, box.y * height + half];
  const [w, h] = [box.width * width - lineWidth, box.height * height - lineWidth];
  const label = escaped(box.label.slice(0, longestLabel));
  return (
    `<rect x="${x}" y="${y}" width="${Math.max(0, w)}" height="${Math.max(0, h)}" fill="none" stroke="${colour}" ` +
    `stroke-width="${lineWidth}"/><text x="${x + 4}" y="${y + 16}" fill="${colour}">${label}</text>`
  );
}
