// Memorisation: for every sample the training picture whose features are nearest, and both beside each other.
import { tensor } from '../creation.js';
import { resizePixels } from '../data/resize.js';
import { check } from '../errors.js';
import type { Pixels } from '../io/decode_image.js';
import { nearestNeighbours } from '../metrics/nearest_neighbours.js';
import { tidy } from '../scope.js';
import type { PictureExtractor } from './extractor.js';
import type { ExtractOptions } from './features.js';
import type { PictureSet } from './picture_set.js';

/** Training pictures whose features are compared at once. */
const chunkPictures = 1024;

/** A sample and the training picture that is most like it. */
export interface NearestPicture {
  readonly sample: string;
  readonly training: string;
  /** Euclidean, between features; 0 for a copy. */
  readonly distance: number;
}

/**
 * The nearest training picture of every sample, nearest first. Features of the samples and of a thousand training
 * pictures are in memory at once.
 */
export async function nearestPictures(
  samples: PictureSet,
  training: PictureSet,
  extractor: PictureExtractor,
  { signal, onProgress }: ExtractOptions = {},
): Promise<NearestPicture[]> {
  let seen = 0;
  const names: string[] = [];
  const rows: Float32Array[] = [];
  await samples.visit(
    extractor.group,
    async (pictures) => {
      names.push(...pictures.map(({ name }) => name));
      rows.push((await extractor.extract(pictures.map(({ pixels }) => pixels))).features);
      onProgress?.((seen += pictures.length));
    },
    signal,
  );
  const { width } = extractor;
  const best = names.map((sample) => ({ sample, training: '', distance: Infinity }));
  let chunk: { names: string[]; rows: Float32Array[] } = { names: [], rows: [] };
  const search = async (): Promise<void> => {
    const { index, distance } = await tidy(() =>
      nearestNeighbours(stacked(rows, width), stacked(chunk.rows, width), { signal }),
    );
    for (const [i, found] of best.entries())
      if (distance[i] < found.distance)
        best[i] = { ...found, training: chunk.names[index[i]], distance: distance[i] };
    chunk = { names: [], rows: [] };
  };
  await training.visit(
    extractor.group,
    async (pictures) => {
      chunk.names.push(...pictures.map(({ name }) => name));
      chunk.rows.push((await extractor.extract(pictures.map(({ pixels }) => pixels))).features);
      onProgress?.((seen += pictures.length));
      if (chunk.names.length >= chunkPictures) await search();
    },
    signal,
  );
  if (chunk.names.length > 0) await search();
  return best.sort((a, b) => a.distance - b.distance || (a.sample < b.sample ? -1 : 1));
}

function stacked(rows: readonly Float32Array[], width: number) {
  const values = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const each of rows) {
    values.set(each, at);
    at += each.length;
  }
  return tensor(values, { shape: [values.length / width, width], device: 'cpu' });
}

/** Reads the pictures of these names, to be looked at: longer sides than `side` are made that. */
export async function picturesNamed(
  set: PictureSet,
  names: readonly string[],
  { side = 256, signal }: { side?: number; signal?: AbortSignal } = {},
): Promise<Map<string, Pixels>> {
  const wanted = new Set(names);
  const found = new Map<string, Pixels>();
  await set.visit(
    8,
    (pictures) => {
      for (const { name, pixels } of pictures)
        if (wanted.has(name)) found.set(name, within(side, pixels));
      return Promise.resolve();
    },
    signal,
  );
  const missing = names.find((name) => !found.has(name));
  check(missing === undefined, () => `${set.path} no longer holds ${missing}.`);
  return found;
}

function within(side: number, pixels: Pixels): Pixels {
  const { height, width } = pixels;
  const scale = side / Math.max(height, width);
  if (scale >= 1) return pixels;
  const scaled = (extent: number) => Math.max(1, Math.round(extent * scale));
  return resizePixels(pixels, scaled(height), scaled(width), 'area');
}
