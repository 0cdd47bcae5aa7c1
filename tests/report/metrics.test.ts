// Measurements read as a stream: extremes survive thinning, torn and endless lines are left out.
import { createWriteStream, writeFileSync } from 'node:fs';
import { finished } from 'node:stream/promises';
import { expect, test } from 'vitest';
import { readMetrics } from '../../lib/report/metrics.js';
import { ThinnedSeries } from '../../lib/report/thinned.js';
import { temporaryFolder } from '../io/temporary.js';

const file = temporaryFolder();

test('a thinned series keeps extremes, means and order in its bounds', () => {
  const series = new ThinnedSeries(8);
  const values = Array.from({ length: 1000 }, (_, i) => (i === 321 ? 99 : i === 654 ? -99 : 1));
  values.forEach((value, i) => series.add(i, value));
  const extremes = series.extremes();
  expect(extremes.length).toBeLessThanOrEqual(16);
  expect(extremes).toContainEqual([321, 99]);
  expect(extremes).toContainEqual([654, -99]);
  expect([series.least, series.most, series.count]).toEqual([-99, 99, 1000]);
  expect(extremes.map(([x]) => x)).toEqual(extremes.map(([x]) => x).sort((a, b) => a - b));
  const means = series.means();
  expect(means.length).toBeLessThanOrEqual(8);
  // whole buckets of 128 and a short last one
  const [[x, y]] = means;
  expect([x, y]).toEqual([63.5, 1]);
  expect([series.first, series.last]).toEqual([
    [0, 1],
    [999, 1],
  ]);
});

test('few points stay as they are', () => {
  const series = new ThinnedSeries();
  const points: [number, number][] = [
    [1, 2],
    [2, 3],
    [4, 1],
  ];
  for (const [x, y] of points) series.add(x, y);
  expect(series.means()).toEqual(points);
  expect(series.extremes()).toEqual(points);
});

test('a long file is read in pieces', async () => {
  const out = createWriteStream(file('long.jsonl'));
  for (let i = 1; i <= 30_000; i++)
    out.write(`{"step":${i},"train/loss":${i === 12_345 ? 7 : 1},"ü":2}\n`);
  out.end();
  await finished(out);
  const { series, damaged } = await readMetrics(file('long.jsonl'));
  expect(damaged).toBe(0);
  expect([...series.keys()]).toEqual(['train/loss', 'ü']);
  const loss = series.get('train/loss')!;
  expect([loss.count, loss.most]).toEqual([30_000, 7]);
  expect(loss.extremes()).toContainEqual([12_345, 7]);
  expect(loss.means().length).toBeLessThanOrEqual(400);
});

test('what is no measurement is counted and left out', async () => {
  const endless = `{"step":2,"a":"${'x'.repeat(3 << 20)}"}`;
  const many = JSON.stringify(
    Object.fromEntries([['step', 4], ...Array.from({ length: 500 }, (_, i) => [`s${i}`, i])]),
  );
  const lines = [
    '{"step":1,"a":1,"b":null}',
    endless,
    'null',
    '[]',
    '{"step":3,"te',
    '',
    many,
    '{"a":1}',
  ];
  writeFileSync(file('odd.jsonl'), lines.join('\n'));
  const { series, damaged, messages } = await readMetrics(file('odd.jsonl'));
  expect(damaged).toBe(5);
  expect(series.get('a')!.count).toBe(1);
  expect(series.has('b')).toBe(false);
  expect(series.size).toBe(300);
  expect(messages).toEqual([]);
  await expect(readMetrics(file('none.jsonl'))).rejects.toThrow(/none\.jsonl: cannot be read/);
});
