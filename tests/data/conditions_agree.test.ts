// Boxes, label maps and small pictures of one picture, cut out and mirrored: all show the same part of it.
import { describe, expect, test } from 'vitest';
import {
  LayoutConditions,
  LayoutTokens,
  LowResolution,
  segmentation,
  type ConditionSource,
  type Dataset,
  type Tensor,
  type TransformOptions,
} from '../../lib/index.js';
import { loaders, take } from './pictures.js';

const load = loaders();
const [width, height, size] = [96, 64, 32];
const box = { label: 1, x: 30, y: 18, width: 24, height: 30 };
const tokens = new LayoutTokens({ categories: 2, maxObjects: 1, vocabSize: 2 ** 16 });

/** A white picture with one black thing, and the map of where that is. */
function pictures(): Dataset {
  const isThing = (x: number, y: number) =>
    x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
  const map = new Uint8Array(width * height);
  const data = new Uint8Array(3 * width * height).fill(255);
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x)
      if (isThing(x, y)) {
        map[y * width + x] = 1;
        data.fill(0, 3 * (y * width + x), 3 * (y * width + x + 1));
      }
  const source = { pixels: { data, width, height, channels: 3 as const } };
  const item = {
    ...{ path: 'a picture', source, boxes: [box] },
    map: { pixels: { data: map, width, height, channels: 1 as const } },
  };
  return { length: 1, item: () => item };
}

async function numbers(x: Tensor): Promise<number[]> {
  return Array.from(await x.data(), Number);
}

const ways: [string, Partial<TransformOptions>][] = [
  ['resized, then cut from the middle', {}],
  ['resized, then cut anywhere', { randomCrop: true }],
  ['resized to more, then cut anywhere', { smallestSide: 48, randomCrop: true }],
  ['cut, then resized', { cropFraction: [0.9, 1], randomCrop: true }],
];

describe.each([0, 1])('mirrored with a probability of %i', (flip) => {
  test.each(ways)('a picture that is %s', async (_what, transform) => {
    const of = async (condition: ConditionSource) => {
      const [batch] = await take(
        load(pictures(), {
          ...{ batchSize: 1, seed: 5, condition, workers: 0 },
          transform: { size, flip, filter: 'bilinear', ...transform },
        }).batches(),
        1,
      );
      return { image: batch.values, condition: batch.condition as Tensor };
    };
    const map = await of(segmentation({ labels: 2 }));
    const { image } = map;
    const channels = await numbers(map.condition);
    const dark = Array.from({ length: size * size }, (_, i) => image[3 * i] < 0);
    const labelled = Array.from({ length: size * size }, (_, i) => channels[2 * i + 1] === 1);
    // Pictures are blended, and maps take the label at a corner: they differ by one at an edge.
    expect(labelled.filter((is, i) => is !== dark[i]).length).toBeLessThan(2 * size);

    const small = await of(new LowResolution({ degradation: 'pil_box', factor: 4 }));
    const coarse = await numbers(small.condition);
    for (let i = 0; i < 64; ++i) {
      const [x, y] = [4 * (i % 8), 4 * Math.floor(i / 8)];
      let sum = 0;
      for (let at = 0; at < 16; ++at)
        sum += image[3 * ((y + (at >> 2)) * size + x + (at % 4))] / 16;
      expect(coarse[3 * i]).toBeCloseTo(sum, 1);
    }

    const layout = await of(new LayoutConditions(tokens));
    const { objects, crop } = tokens.decode(await numbers(layout.condition));
    const ends = (from: number, extent: number, cut: number, side: number) =>
      [from, from + extent].map((end) => Math.min(size, Math.max(0, ((end - cut) / side) * size)));
    const across = ends(objects[0].x, objects[0].width, crop!.x, crop!.width);
    const down = ends(objects[0].y, objects[0].height, crop!.y, crop!.height);
    const seen = labelled.flatMap((is, i) => (is ? [i] : []));
    const columns = seen.map((i) => i % size);
    const rows = seen.map((i) => Math.floor(i / size));
    const found = [Math.min(...columns), Math.max(...columns) + 1];
    for (const [end, place] of [found, [rows[0], rows.at(-1)! + 1]].flat().entries())
      expect(Math.abs(place - [...across, ...down][end])).toBeLessThan(1.3);
  });
});
