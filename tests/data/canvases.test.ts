// Canvases of emoji: a function of seed and number, with boxes and maps that say what was drawn where.
import { beforeAll, describe, expect, test } from 'vitest';
import {
  canvasClasses,
  canvasDataset,
  loadStickers,
  makeCanvas,
  type StickerSet,
} from '../../examples/studies/tasks/canvases.js';

let training: StickerSet;
let heldOut: StickerSet;
beforeAll(async () => {
  training = await loadStickers({ heldOut: false });
  heldOut = await loadStickers({ heldOut: true });
});

test('every class has drawings to train on and others to measure with', () => {
  for (const [label, name] of canvasClasses.entries()) {
    expect(training[label].length, name).toBeGreaterThan(15);
    expect(heldOut[label].length, name).toBeGreaterThan(0);
    const drawn = new Set(
      training[label].map(({ pixels }) => Buffer.from(pixels).toString('base64')),
    );
    for (const { pixels } of heldOut[label])
      expect(drawn.has(Buffer.from(pixels).toString('base64')), name).toBe(false);
  }
});

describe('a canvas', () => {
  test('depends on seed and number alone', () => {
    const [a, again] = [makeCanvas(training, 5, { seed: 1 }), makeCanvas(training, 5, { seed: 1 })];
    expect(again).toEqual(a);
    expect(makeCanvas(training, 6, { seed: 1 }).boxes).not.toEqual(a.boxes);
    expect(makeCanvas(training, 5, { seed: 2 }).boxes).not.toEqual(a.boxes);
    const { boxes, source, map } = canvasDataset(training, { seed: 1, from: 4, count: 3 }).item(1);
    expect(boxes).toEqual(a.boxes);
    expect(source).toMatchObject({ pixels: { data: a.pixels, width: 64, height: 64 } });
    expect(map).toMatchObject({ pixels: { data: a.map, channels: 1 } });
  });

  test.each([
    [64, 64],
    [160, 96],
  ])('of %i x %i says where its objects are', (width, height) => {
    for (let index = 0; index < 8; ++index) {
      const { boxes, map, pixels } = makeCanvas(heldOut, index, { seed: 3, width, height });
      expect(boxes.length).toBeGreaterThan(0);
      const inside = new Uint8Array(width * height);
      for (const box of boxes) {
        expect(Math.min(box.x, box.y)).toBeGreaterThanOrEqual(0);
        expect([box.x + box.width <= width, box.y + box.height <= height]).toEqual([true, true]);
        expect(Math.max(box.width, box.height)).toBeGreaterThanOrEqual(19);
        let own = 0;
        for (let y = box.y; y < box.y + box.height; ++y)
          for (let x = box.x; x < box.x + box.width; ++x) {
            inside[y * width + x] = 1;
            own += Number(map[y * width + x] === box.label + 1);
          }
        // All but thin drawings fill half of their box.
        expect(own / (box.width * box.height)).toBeGreaterThan(0.25);
      }
      const isBlank = (at: number) => map[at] === 0 && pixels[3 * at] === 255;
      expect(inside.findIndex((isInside, at) => !isInside && !isBlank(at))).toBe(-1);
    }
  });

  test('has its objects on a raster', () => {
    const options = { seed: 3, width: 48, height: 48, sizes: [24, 32], raster: 8 } as const;
    for (let index = 0; index < 16; ++index) {
      const { boxes } = makeCanvas(training, index, options);
      expect([1, 2]).toContain(boxes.length);
      for (const { x, y, width, height } of boxes) {
        expect([x % 8, y % 8]).toEqual([0, 0]);
        expect([24, 32]).toContain(Math.max(width, height));
        expect(Math.max(x + width, y + height)).toBeLessThanOrEqual(48);
      }
    }
  });
});
