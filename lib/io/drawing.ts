// Drawings on white, made of SVG: boxes with their names, and texts.
import sharp from 'sharp';
import type { Tensor } from '../tensor.js';
import { imageOf } from './image.js';

/** Sides of a drawing in pixels. */
export interface DrawingSize {
  readonly width: number;
  readonly height: number;
}

/** As wide for its height as a picture; the shorter side has 256 pixels, enough for names. */
export function drawingSize({ width, height }: DrawingSize): DrawingSize {
  const scale = 256 / Math.min(width, height);
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

/**
 * Draws elements of SVG.
 *
 * @param fontSize in pixels
 * @returns [height, width, 3] in [-1, 1]
 */
export async function drawing(
  elements: readonly string[],
  { width, height }: DrawingSize,
  fontSize: number,
): Promise<Tensor> {
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" ` +
    `font-size="${fontSize}"><rect width="100%" height="100%" fill="#ffffff"/>${elements.join('')}</svg>`;
  const data = await sharp(Buffer.from(svg)).removeAlpha().raw().toBuffer();
  return imageOf({ data, width, height, channels: 3 });
}

/** Text as XML holds it. What it cannot hold is left out. */
export const escaped = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, '')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;');
