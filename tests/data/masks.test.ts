// Masks for inpainting: shapes pixel by pixel, what each family covers, and that a key decides all of it.
import { describe, expect, test } from 'vitest';
import { fillBox, fillStroke, type Canvas } from '../../lib/data/masks/raster.js';
import {
  ArgumentError,
  drawMask,
  maskFamilies,
  type MaskFamily,
  type MaskFamilyName,
} from '../../lib/index.js';

const names = Object.keys(maskFamilies) as MaskFamilyName[];
const side = { height: 256, width: 256 };
const made = (mask: Uint8Array) => {
  let sum = 0;
  for (const byte of mask) sum += byte;
  return sum;
};

const empty = (width: number, height: number): Canvas => ({
  data: new Uint8Array(width * height),
  width,
  height,
});
const rows = ({ data, width, height }: Canvas) =>
  Array.from({ length: height }, (_, y) =>
    Array.from(data.subarray(y * width, (y + 1) * width), (byte) => '.#'[byte]).join(''),
  );

describe('shapes', () => {
  test('a box covers its pixels and is cut at the border', () => {
    const canvas = empty(5, 3);
    fillBox(canvas, { left: 1, top: 1, width: 2, height: 1 });
    fillBox(canvas, { left: 4, top: -1, width: 9, height: 2 });
    fillBox(canvas, { left: 7, top: 0, width: 2, height: 2 });
    expect(rows(canvas)).toEqual(['....#', '.##..', '.....']);
  });

  test('a stroke covers what lies within its radius, at any angle', () => {
    const [width, height] = [37, 29];
    const points = [-6, 3, 11.25, 19, 33].flatMap((x) => [-4, 8.5, 20].map((y) => ({ x, y })));
    for (const from of points)
      for (const to of points) {
        const radius = 1 + ((from.x + 2 * to.y + 20) % 7);
        const canvas = empty(width, height);
        fillStroke(canvas, from, to, radius);
        for (let y = 0; y < height; ++y)
          for (let x = 0; x < width; ++x) {
            const distance = distanceToSegment({ x, y }, from, to);
            // A centre on the very edge may fall on either side.
            if (Math.abs(distance - radius) < 1e-9) continue;
            const expected = distance < radius ? 1 : 0;
            if (canvas.data[y * width + x] !== expected)
              expect.fail(`pixel ${x}, ${y} of a stroke ${JSON.stringify({ from, to, radius })}`);
          }
      }
  });
});

describe('a mask', () => {
  test.each(names)('of %s is a function of its key', (name) => {
    const size = { height: 60, width: 80 };
    const key = { seed: 3, stream: 1, step: 2, sample: 4 };
    const mask = drawMask(name, size, key);
    drawMask(name, size, { seed: 9 });
    expect(drawMask(name, size, { ...key })).toEqual(mask);
    const others = (['seed', 'stream', 'step', 'sample'] as const).map((part) =>
      drawMask(name, size, { ...key, [part]: 1000 }),
    );
    for (const other of others) expect(other).not.toEqual(mask);
  });

  test.each(names)('of %s has a hole and leaves something, at any size', (name) => {
    for (const [height, width] of [
      [1, 2],
      [2, 1],
      [3, 3],
      [5, 40],
      [64, 64],
      [17, 300],
    ]) {
      for (let sample = 0; sample < 30; ++sample) {
        const mask = drawMask(name, { height, width }, { seed: 5, sample });
        expect(mask.length).toBe(height * width);
        expect(made(mask)).toBeGreaterThan(0);
        expect(made(mask)).toBeLessThan(height * width);
      }
    }
  });

  test('keeps to its limits, and has a way to where its family never comes', () => {
    for (let sample = 0; sample < 100; ++sample) {
      const share = made(drawMask('thick', side, { seed: 1, sample }, { most: 0.5 })) / 65_536;
      expect(share).toBeLessThanOrEqual(0.5);
      const band = drawMask('boxes', side, { seed: 1, sample }, { least: 0.97, most: 0.98 });
      expect(made(band) / 65_536).toBeCloseTo(0.975, 4);
    }
    const nothing: MaskFamily = { kind: 'border', share: [0, 0], chances: [1, 0, 0, 0] };
    const everything: MaskFamily = { kind: 'border', share: [1, 1], chances: [1, 0, 0, 0] };
    expect(made(drawMask(nothing, side, { seed: 1 }, { least: 0 }))).toBe(0);
    expect(made(drawMask(everything, side, { seed: 1 }, { most: 1 }))).toBe(65_536);
    expect(made(drawMask(everything, side, { seed: 1 }))).toBe(32_768);
  });

  test.each([
    [
      'a family that is not there',
      () => drawMask('fat' as 'thin', side, { seed: 1 }),
      /Known are wide/,
    ],
    ['half a seed', () => drawMask('thin', side, { seed: 0.5 }), /seed.*0\.5/],
    ['a size of nothing', () => drawMask('thin', { height: 0, width: 4 }, { seed: 1 }), /0 x 4/],
    ['one pixel', () => drawMask('thin', { height: 1, width: 1 }, { seed: 1 }), /no mask covers/],
    ['a share above 1', () => drawMask('thin', side, { seed: 1 }, { most: 1.5 }), /got 1\.5/i],
    [
      'limits that cross',
      () => drawMask('thin', side, { seed: 1 }, { least: 0.6, most: 0.5 }),
      /at least 0\.6/,
    ],
    [
      'a range upside down',
      () => drawMask({ kind: 'boxes', count: [3, 1], side: [1, 2], margin: 0 }, side, { seed: 1 }),
      /count of boxes/,
    ],
    [
      'weights of nothing',
      () => drawMask({ kind: 'mixture', of: [] }, side, { seed: 1 }),
      /Got none/,
    ],
    [
      'chances of nothing',
      () => drawMask({ kind: 'border', share: [0, 1], chances: [0, 0, 0, 0] }, side, { seed: 1 }),
      /chances/,
    ],
    [
      'a kind that is not there',
      () => drawMask({ kind: 'stars' } as unknown as MaskFamily, side, { seed: 1 }),
      /'stars'/,
    ],
  ])('of %s is refused', (_, draw, message) => {
    expect(draw).toThrow(ArgumentError);
    expect(draw).toThrow(message);
  });
});

describe('shares that families cover', () => {
  const { of: thick } = maskFamilies.thick;
  const { of: medium } = maskFamilies.medium;
  // mean, and quantiles 10, 50 and 90 %, of 3,000 masks by LaMa's own rules, drawn by Pillow in 256 x 256
  const published: [string, MaskFamily, number, number, number, number][] = [
    ['thick strokes', thick[0].family, 0.456, 0.153, 0.469, 0.724],
    ['medium strokes', medium[0].family, 0.298, 0.193, 0.295, 0.407],
    ['thin strokes', maskFamilies.thin, 0.268, 0.089, 0.28, 0.429],
    ['large boxes', maskFamilies.boxes, 0.247, 0.086, 0.25, 0.393],
    ['fewer large boxes', thick[1].family, 0.211, 0.076, 0.205, 0.351],
    ['small boxes', medium[1].family, 0.04, 0.011, 0.038, 0.072],
  ];

  const shares = (family: MaskFamily, extent: number, count: number) =>
    Array.from({ length: count }, (_, sample) => {
      const size = { height: extent, width: extent };
      return (
        made(drawMask(family, size, { seed: 11, sample }, { least: 0, most: 1 })) / extent ** 2
      );
    }).sort((a, b) => a - b);
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;

  test.each(published)('%s: as published', (_, family, average, low, median, high) => {
    const found = shares(family, 256, 300);
    // four standard errors of the mean, and of a quantile about twice as much
    const deviation = Math.sqrt(mean(found.map((x) => (x - mean(found)) ** 2)) / found.length);
    expect(Math.abs(mean(found) - average)).toBeLessThan(4 * deviation);
    const quantiles = [0.1, 0.5, 0.9].map((q) => found[Math.floor(q * found.length)]);
    for (const [i, expected] of [low, median, high].entries())
      expect(Math.abs(quantiles[i] - expected), `quantile ${i}`).toBeLessThan(8 * deviation);
  });

  test.each(published)('%s: about the same in other sizes', (_, family, average) => {
    for (const extent of [64, 320]) {
      const ratio = mean(shares(family, extent, 60)) / average;
      expect(ratio).toBeGreaterThan(0.75);
      expect(ratio).toBeLessThan(1.3);
    }
  });

  test('a mixture chooses by its weights', () => {
    const border = (share: number): MaskFamily => {
      return { kind: 'border', share: [share, share], chances: [1, 0, 0, 0] };
    };
    const family: MaskFamily = {
      kind: 'mixture',
      of: [
        { weight: 3, family: border(0.25) },
        { weight: 0, family: border(0.5) },
        { weight: 1, family: border(0.75) },
      ],
    };
    const found = shares(family, 16, 800);
    const of = (share: number) => found.filter((x) => x === share).length / found.length;
    expect(of(0.25)).toBeCloseTo(0.75, 1);
    expect(of(0.75)).toBeCloseTo(0.25, 1);
    expect(of(0.5)).toBe(0);
  });

  test('borders lie along sides, each half of the time or more, and never none', () => {
    const sides = [0, 0, 0, 0];
    for (let sample = 0; sample < 2000; ++sample) {
      const mask = drawMask('border', { height: 40, width: 60 }, { seed: 2, sample });
      const at = (y: number, x: number) => mask[y * 60 + x];
      const touched = [at(20, 0), at(0, 30), at(20, 59), at(39, 30)];
      touched.forEach((each, i) => (sides[i] += each));
      expect(touched).toContain(1);
      expect(at(20, 30)).toBe(0);
    }
    for (const count of sides) expect(count / 2000).toBeCloseTo(0.5 + 1 / 64, 1);
  });
});

function distanceToSegment(p: Point, a: Point, b: Point): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const squared = dx * dx + dy * dy;
  const along = squared === 0 ? 0 : ((p.x - a.x) * dx + (p.y - a.y) * dy) / squared;
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

interface Point {
  x: number;
  y: number;
}
