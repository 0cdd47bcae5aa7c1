// Small pictures by formula, as files.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';

export interface Drawing {
  width: number;
  height: number;
  data: Buffer;
}

/** Waves whose colours and lengths depend on the number. */
export function drawing(number: number, width = 16, height = width): Drawing {
  const data = Buffer.alloc(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    const wave = Math.sin(x / (1 + (number % 5)) + y / (2 + (number % 3)) + number * (c + 1));
    data[i] = Math.round(127.5 + 120 * wave);
  }
  return { width, height, data };
}

export async function writeDrawing(path: string, { width, height, data }: Drawing): Promise<void> {
  await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(path);
}

/** Writes drawings into a new folder, under names that `nameOf` gives. */
export async function drawingFolder(
  folder: string,
  numbers: readonly number[],
  nameOf: (number: number) => string = (number) => `${number}.png`,
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  for (const number of numbers) await writeDrawing(join(folder, nameOf(number)), drawing(number));
  return folder;
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);
