// Plots as SVG: places by their scales, and nothing of a name as markup.
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { drawPlot, smooth, writePlot, type Plot } from '../../lib/index.js';
import { scaleOf } from '../../lib/report/scale.js';
import { temporaryFolder } from '../io/temporary.js';
import { hostile } from './fixtures.js';

const file = temporaryFolder();
const plot = (points: Plot['curves'][number]['points'], scale?: 'log'): Plot => ({
  title: hostile,
  x: { label: 'step' },
  y: { label: 'loss', scale },
  curves: [{ name: hostile, colour: '#123456', points }],
});

test('scales keep order and have round ticks inside', () => {
  const linear = scaleOf({ label: '' }, [3, 97]);
  expect(linear.ticks).toEqual([0, 20, 40, 60, 80, 100]);
  expect(linear.share(50)).toBeCloseTo(0.5, 12);
  const log = scaleOf({ label: '', scale: 'log' }, [1, 100]);
  expect(log.ticks).toContain(10);
  expect(log.share(10)).toBeCloseTo(0.5, 12);
  for (const value of [1, 100]) expect(Math.abs(log.share(value) - 0.5)).toBeLessThan(0.5);
  // one value, and a range without a power of ten
  expect(scaleOf({ label: '' }, [0]).share(0)).toBeGreaterThanOrEqual(0);
  expect(scaleOf({ label: '', scale: 'log' }, [5, 5]).share(5)).toBeCloseTo(0.5, 12);
  expect(scaleOf({ label: '', scale: 'log' }, [320, 450]).ticks.length).toBeGreaterThanOrEqual(2);
  expect([12_000, 2.5e6, 2e-5, 0.25].map((value) => linear.label(value))).toEqual([
    '12k',
    '2.5M',
    '2e-5',
    '0',
  ]);
});

test('points that cannot be shown are left out, names are text', () => {
  const svg = drawPlot(
    plot(
      [
        [0, 1],
        [1, -1],
        [2, NaN],
        [3, 10],
      ],
      'log',
    ),
  )!;
  expect(svg).toContain('data-x="0 3" data-y="1 10"');
  expect(svg).not.toContain('<script');
  expect(svg).toContain('&lt;script&gt;');
  expect(drawPlot(plot([[0, -1]], 'log'))).toBeNull();
});

test('a million points are no more than the stack bears', () => {
  const points = Array.from({ length: 1e6 }, (_, i): [number, number] => [i, 1]);
  expect(
    scaleOf(
      { label: '' },
      points.map(([x]) => x),
    ).share(999_999),
  ).toBeLessThanOrEqual(1);
});

test('smoothing begins with the first value and follows a level', () => {
  const level = smooth(
    [
      [0, 5],
      [1, 5],
      [2, 5],
    ],
    0.9,
  );
  for (const [, y] of level) expect(y).toBeCloseTo(5, 12);
  expect(
    smooth(
      [
        [0, 0],
        [1, 1],
      ],
      0.5,
    )[1][1],
  ).toBeCloseTo(2 / 3, 12);
});

test('files are SVG or PNG by their names', async () => {
  await writePlot(
    file('a.svg'),
    plot([
      [0, 1],
      [1, 2],
    ]),
  );
  await writePlot(
    file('a.png'),
    plot([
      [0, 1],
      [1, 2],
    ]),
  );
  expect(readFileSync(file('a.svg'), 'utf8')).toMatch(/^<svg xmlns/);
  const { format, width, height } = await sharp(file('a.png')).metadata();
  expect([format, width, height]).toEqual(['png', 900, 480]);
  await expect(writePlot(file('a.gif'), plot([[0, 1]]))).rejects.toThrow(/\.png or \.svg/);
});
