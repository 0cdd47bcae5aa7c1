// Small pictures for the tests of the data layer.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import sharp from 'sharp';
import { afterAll } from 'vitest';
import {
  DataLoader,
  MemoryImages,
  type DataLoaderOptions,
  type Dataset,
  type ImageBatch,
} from '../../lib/index.js';

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

/** `count` pictures of 4 x 4, in memory. */
export function memory(count: number, labels?: number[]): MemoryImages {
  const size = { width: 4, height: 4, channels: 3 } as const;
  const pictures = Array.from({ length: count }, (_, n) => pictureBytes(n, size));
  return new MemoryImages(new Uint8Array(Buffer.concat(pictures)), { ...size, labels });
}

/** A maker of loaders that are disposed after the file's tests. */
export function loaders() {
  const made: DataLoader[] = [];
  afterAll(async () => {
    for (const loader of made) await loader.dispose();
  });
  return (dataset: Dataset, options: Partial<DataLoaderOptions> = {}): DataLoader => {
    const transform = { size: 4 };
    const loader = new DataLoader(dataset, { batchSize: 3, transform, workers: 0, ...options });
    made.push(loader);
    return loader;
  };
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
