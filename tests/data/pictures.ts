// Small pictures for the tests of the data layer.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import sharp from 'sharp';
import type { DataLoader, ImageBatch } from '../../lib/index.js';

/** Bytes that tell pictures, places and channels apart. */
export function pictureBytes(
  n: number,
  { width, height, channels = 3 }: { width: number; height: number; channels?: number },
): Uint8Array {
  return Uint8Array.from(
    { length: width * height * channels },
    (_, i) => n * 37 + i * 11 + (i >> 4),
  );
}

/** Writes a picture in the format of its extension, making its folder. */
export async function writePicture(
  path: string,
  n = 0,
  { width = 10, height = 8 }: { width?: number; height?: number } = {},
): Promise<string> {
  mkdirSync(dirname(path), { recursive: true });
  const data = pictureBytes(n, { width, height });
  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(path);
  return path;
}

export interface SeenBatch extends Omit<ImageBatch, 'image'> {
  shape: readonly number[];
  values: number[];
}

/** The first batches, read and disposed. */
export async function take(
  batches: ReturnType<DataLoader['batches']>,
  count = Infinity,
): Promise<SeenBatch[]> {
  const seen: SeenBatch[] = [];
  if (count === 0) return seen;
  for await (const { image, ...rest } of batches) {
    seen.push({ ...rest, shape: image.shape, values: Array.from(await image.data(), Number) });
    image.dispose();
    if (seen.length === count) break;
  }
  return seen;
}
