// Boxes as pictures: where they are drawn, and what is refused.
import { expect, test } from 'vitest';
import { drawBoxes, readImage, tidy, writeBoxes, type DrawnBox } from '../../lib/index.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();
const boxes: DrawnBox[] = [
  { x: 0, y: 0, width: 0.5, height: 0.5, label: 'a & <b>' },
  { x: 0.5, y: 0.25, width: 0.5, height: 0.75, label: '' },
];
const size = { width: 80, height: 40 };

test('boxes are drawn where they are, each in its colour', () =>
  tidy(async () => {
    const drawing = await drawBoxes(boxes, size);
    expect(drawing.shape).toEqual([40, 80, 3]);
    const values = (await drawing.data()) as Float32Array;
    const at = (x: number, y: number) =>
      [0, 1, 2].map((c) => Math.round((values[3 * (80 * y + x) + c] + 1) * 127.5));
    expect(at(20, 18)).toEqual([0x1f, 0x77, 0xb4]);
    expect(at(78, 30)).toEqual([0xff, 0x7f, 0x0e]);
    expect(at(60, 5)).toEqual([255, 255, 255]);
    await writeBoxes(inFolder('boxes.png'), boxes, size);
    expect(await (await readImage(inFolder('boxes.png'))).data()).toEqual(values);
    expect((await drawBoxes([])).shape).toEqual([256, 256, 3]);
  }));

test.each<[string, DrawnBox[], { width?: number; height?: number }, string]>([
  ['a side that is none', [], { width: 12.5 }, 'from 1 to 16384. Got 12.5 and 256'],
  ['a side beyond all', [], { height: 20_000 }, 'Got 256 and 20000'],
  [
    'a box that is none',
    [...boxes, { ...boxes[0], y: NaN }],
    {},
    'of box 2 (a & <b>) are numbers. Got 0, NaN, 0.5, 0.5',
  ],
])('%s is refused', async (_, wrong, sides, message) => {
  await expect(drawBoxes(wrong, sides)).rejects.toThrow(message);
});
