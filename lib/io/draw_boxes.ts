// Boxes drawn on white, each in a colour of its own with its name: what a layout asks for, to be looked at.
import sharp from 'sharp';
import { writeFileAtomic } from './atomic.js';

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

/**
 * Writes the drawing as PNG: as the original's log, rectangles of 3 pixels in a cycle of ten colours.
 *
 * @param options.width of the drawing in pixels, default 256
 * @param options.height default 256
 */
export async function writeBoxes(
  path: string,
  boxes: readonly DrawnBox[],
  { width = 256, height = 256 }: { width?: number; height?: number } = {},
): Promise<void> {
  const drawn = boxes.map((box, i) => drawBox(box, colours[i % colours.length], width, height));
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" ` +
    `font-size="14"><rect width="100%" height="100%" fill="#ffffff"/>${drawn.join('')}</svg>`;
  const png = await sharp(Buffer.from(svg)).removeAlpha().png().toBuffer();
  await writeFileAtomic(path, png);
}

function drawBox(box: DrawnBox, colour: string, width: number, height: number): string {
  const half = lineWidth / 2;
  const [x, y] = [box.x * width + half, box.y * height + half];
  const [w, h] = [box.width * width - lineWidth, box.height * height - lineWidth];
  return (
    `<rect x="${x}" y="${y}" width="${Math.max(0, w)}" height="${Math.max(0, h)}" fill="none" stroke="${colour}" ` +
    `stroke-width="${lineWidth}"/><text x="${x + 4}" y="${y + 16}" fill="${colour}">${escaped(box.label)}</text>`
  );
}

// What XML cannot hold is left out.
const escaped = (text: string): string =>
  text
    .slice(0, longestLabel)
    .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, '')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;');
