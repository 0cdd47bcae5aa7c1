// Masked pictures beside those of a loader: the authors' values, and masks that the seed decides.
import { describe, expect, test } from 'vitest';
import {
  MaskedPictures,
  MemoryImages,
  type DataLoaderOptions,
  type MaskedPicturesOptions,
  type Tensor,
} from '../../lib/index.js';
import { loaders, pictureBytes } from './pictures.js';

const load = loaders();
const size = { width: 12, height: 12, channels: 3 } as const;
const count = 6;
const bytes = Array.from({ length: count }, (_, n) => pictureBytes(n, size));
const dataset = new MemoryImages(new Uint8Array(Buffer.concat(bytes)), size);

interface Masked {
  index: number[];
  source: number[];
  image: number[];
  mask: number[];
}

async function batches(
  wanted: number,
  masks: MaskedPicturesOptions = {},
  options: Partial<DataLoaderOptions> = {},
  from = 0,
): Promise<Masked[]> {
  const condition = new MaskedPictures(masks);
  const loader = load(dataset, { transform: { size: 12 }, condition, ...options });
  const numbers = async (x: Tensor) => [...((await x.data()) as Float32Array)];
  const seen: Masked[] = [];
  for await (const batch of loader.batches({ from })) {
    const { image, mask } = batch.condition as { image: Tensor; mask: Tensor };
    expect([image.shape, mask.shape]).toEqual([
      [3, 12, 12, 3],
      [3, 12, 12, 1],
    ]);
    const [source, masked, holes] = [
      await numbers(batch.image),
      await numbers(image),
      await numbers(mask),
    ];
    seen.push({ index: batch.index, source, image: masked, mask: holes });
    [batch.image, image, mask].forEach((x) => x.dispose());
    if (seen.length === wanted) break;
  }
  return seen;
}

describe('masked pictures', () => {
  test('are black in their holes, which the mask has as 1 and the rest as -1', async () => {
    for (const { source, image, mask } of await batches(4)) {
      expect(new Set(mask)).toEqual(new Set([1, -1]));
      image.forEach((value, i) =>
        expect(value).toBe(mask[Math.floor(i / 3)] === 1 ? -1 : source[i]),
      );
    }
  });

  test('have masks of their own, in each epoch others, whatever the batches and threads', async () => {
    const masks = async (options: Partial<DataLoaderOptions>, wanted = 4, from = 0) =>
      (await batches(wanted, {}, { seed: 4, ...options }, from)).flatMap(({ index, mask }, batch) =>
        index.map(
          (each, i) =>
            [
              `${Math.floor((batch + from) / 2)}:${each}`,
              mask.slice(i * 144, (i + 1) * 144).join(),
            ] as const,
        ),
      );
    const found = new Map(await masks({}));
    expect(found.size).toBe(2 * count);
    expect(new Set(found.values()).size).toBeGreaterThan(count);
    expect(new Map(await masks({ workers: 2, prefetch: 3 }))).toEqual(found);
    for (const [picture, mask] of await masks({}, 2, 2)) expect(mask).toBe(found.get(picture));
    const others = new Map(await masks({ seed: 5 }));
    expect([...others.keys()].some((picture) => others.get(picture) !== found.get(picture))).toBe(
      true,
    );
  });

  test('keep to the limits', async () => {
    for (const { mask } of await batches(2, { masks: 'border', least: 0.3, most: 0.4 }))
      for (const n of [0, 1, 2]) {
        const holes = mask.slice(n * 144, (n + 1) * 144).filter((value) => value === 1).length;
        expect(holes).toBeGreaterThanOrEqual(0.3 * 144);
        expect(holes).toBeLessThanOrEqual(0.4 * 144);
      }
  });

  test('are refused at once when no mask can be drawn', () => {
    expect(() => new MaskedPictures({ least: 0.9, most: 0.1 })).toThrow(/at least 0\.9/);
    expect(() => new MaskedPictures({ masks: 'holes' as 'thin' })).toThrow(/'holes'/);
  });
});
