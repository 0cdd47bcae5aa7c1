// Resizing against numbers that OpenCV and Pillow gave, and the pixels of one channel against those of three.
import { expect, test } from 'vitest';
import type { Pixels } from '../../lib/data/pixels.js';
import { resizeFilters, resizePixels, type ResizeFilter } from '../../lib/data/resize.js';
import { roundHalfToEven } from '../../lib/rounding.js';

const source: Pixels = {
  data: Uint8Array.from({ length: 48 }, (_, i) => {
    const [y, x] = [Math.floor(i / 8), i % 8];
    return x * 67 + y * 151 + x * y * 29;
  }),
  width: 8,
  height: 6,
  channels: 1,
};

/** cv2.resize (INTER_LINEAR, INTER_AREA) of OpenCV 5.0.0 and Image.resize of Pillow 12.3.0. */
const cases: { height: number; width: number; expected: Record<ResizeFilter, number[]> }[] = [
  {
    height: 4,
    width: 5,
    expected: {
      linear: [
        60, 121, 106, 96, 170, 107, 66, 100, 141, 112, 142, 221, 95, 199, 182, 190, 165, 90, 91,
        182,
      ],
      area: [
        79, 130, 105, 102, 164, 124, 105, 101, 117, 109, 127, 181, 95, 169, 169, 173, 156, 90, 120,
        178,
      ],
      box: [
        117, 111, 105, 99, 158, 109, 40, 100, 159, 91, 101, 226, 95, 219, 152, 221, 155, 89, 23,
        213,
      ],
      bilinear: [
        88, 135, 106, 100, 161, 134, 124, 102, 115, 118, 118, 163, 105, 153, 157, 164, 152, 94, 124,
        177,
      ],
      hamming: [
        68, 126, 106, 98, 168, 116, 91, 101, 126, 112, 135, 196, 96, 178, 175, 183, 161, 90, 106,
        182,
      ],
      bicubic: [
        85, 145, 102, 95, 168, 142, 125, 98, 110, 113, 108, 172, 102, 160, 159, 166, 154, 86, 124,
        181,
      ],
      lanczos: [
        81, 155, 97, 91, 175, 152, 135, 93, 103, 117, 93, 172, 110, 154, 159, 164, 155, 83, 127,
        185,
      ],
    },
  },
  {
    height: 3,
    width: 4,
    expected: {
      linear: [116, 151, 58, 157, 127, 150, 109, 132, 138, 149, 96, 171],
      area: [116, 151, 58, 157, 127, 150, 109, 132, 138, 149, 96, 171],
      box: [117, 152, 59, 158, 128, 151, 110, 133, 139, 150, 97, 172],
      bilinear: [113, 131, 91, 142, 130, 135, 114, 139, 146, 138, 114, 167],
      hamming: [116, 145, 69, 153, 128, 146, 110, 134, 140, 146, 102, 170],
      bicubic: [111, 135, 81, 147, 130, 136, 111, 138, 148, 140, 107, 176],
      lanczos: [111, 134, 79, 148, 132, 135, 112, 140, 151, 137, 106, 184],
    },
  },
  {
    height: 7,
    width: 9,
    expected: {
      linear: [
        0, 56, 115, 175, 106, 38, 97, 157, 213, 119, 193, 128, 152, 104, 55, 135, 181, 89, 83, 179,
        96, 127, 101, 75, 131, 98, 118, 122, 131, 141, 151, 98, 94, 147, 86, 202, 159, 83, 186, 176,
        95, 113, 188, 134, 194, 124, 68, 155, 151, 92, 110, 189, 170, 114, 243, 206, 167, 128, 89,
        50, 82, 227, 191,
      ],
      area: [
        0, 59, 117, 176, 107, 37, 96, 154, 213, 126, 206, 125, 152, 103, 55, 135, 188, 81, 81, 182,
        91, 128, 101, 73, 132, 94, 120, 122, 131, 142, 152, 98, 92, 150, 80, 202, 162, 81, 192, 175,
        95, 110, 189, 130, 198, 117, 57, 158, 151, 92, 112, 196, 169, 109, 243, 205, 166, 128, 89,
        51, 76, 230, 191,
      ],
      box: [
        0, 67, 134, 201, 12, 12, 79, 146, 213, 151, 247, 87, 183, 23, 23, 119, 215, 55, 46, 171, 40,
        165, 34, 34, 159, 28, 153, 197, 95, 249, 147, 45, 45, 199, 97, 251, 197, 95, 249, 147, 45,
        45, 199, 97, 251, 92, 19, 202, 129, 56, 56, 239, 166, 93, 243, 199, 155, 111, 67, 67, 23,
        235, 191,
      ],
      bilinear: [
        0, 56, 115, 175, 107, 38, 98, 157, 213, 119, 194, 128, 152, 104, 55, 136, 181, 89, 84, 179,
        96, 127, 101, 75, 131, 99, 118, 122, 131, 141, 152, 98, 94, 147, 86, 202, 159, 83, 186, 176,
        95, 113, 188, 134, 195, 124, 68, 154, 151, 92, 111, 190, 170, 114, 243, 206, 167, 128, 89,
        50, 82, 228, 191,
      ],
      hamming: [
        0, 65, 127, 184, 107, 29, 86, 148, 213, 143, 235, 104, 159, 103, 47, 127, 207, 63, 67, 183,
        63, 138, 101, 62, 143, 68, 133, 122, 133, 143, 153, 98, 76, 168, 67, 202, 176, 82, 223, 168,
        95, 89, 198, 115, 219, 100, 30, 183, 147, 93, 101, 222, 168, 98, 243, 200, 159, 122, 89, 56,
        44, 234, 191,
      ],
      bicubic: [
        0, 48, 115, 195, 107, 18, 96, 158, 220, 129, 215, 123, 161, 104, 36, 144, 203, 74, 72, 201,
        72, 125, 102, 64, 139, 86, 108, 122, 130, 142, 161, 90, 88, 153, 61, 222, 171, 60, 211, 196,
        77, 110, 210, 126, 205, 114, 47, 160, 160, 79, 107, 210, 171, 98, 249, 213, 167, 127, 89,
        35, 65, 244, 193,
      ],
      lanczos: [
        0, 44, 109, 208, 107, 7, 100, 156, 222, 129, 210, 124, 169, 108, 17, 159, 203, 77, 66, 215,
        60, 116, 108, 58, 151, 81, 91, 121, 131, 138, 170, 81, 90, 143, 53, 244, 176, 46, 215, 226,
        52, 121, 229, 124, 201, 114, 51, 151, 170, 67, 102, 217, 167, 94, 252, 217, 166, 126, 97,
        23, 64, 249, 193,
      ],
    },
  },
];

for (const { height, width, expected } of cases)
  test.each(resizeFilters)(`%s, 6 x 8 to ${height} x ${width}`, (filter) => {
    const { data } = resizePixels(source, height, width, filter);
    expect([...data]).toEqual(expected[filter]);
  });

test.each(resizeFilters)(
  '%s: channels do not mix, and a window is a part of the whole',
  (filter) => {
    const colour: Pixels = {
      ...source,
      channels: 3,
      data: Uint8Array.from({ length: 144 }, (_, i) => {
        const value = source.data[Math.floor(i / 3)];
        return [value, 255 - value, 7][i % 3];
      }),
    };
    for (const { height, width } of cases) {
      const grey = resizePixels(source, height, width, filter).data;
      const all = resizePixels(colour, height, width, filter).data;
      expect([...all].filter((_, i) => i % 3 === 0)).toEqual([...grey]);
      expect([...all].filter((_, i) => i % 3 === 2)).toEqual([...grey].map(() => 7));
      const window = { top: 1, left: 2, height: height - 1, width: width - 3 };
      const part = resizePixels(source, height, width, filter, window);
      expect([part.height, part.width]).toEqual([window.height, window.width]);
      expect([...part.data]).toEqual(
        [...grey].filter((_, i) => i >= width && i % width >= 2 && i % width < width - 1),
      );
    }
  },
);

test.each(resizeFilters)('%s: one pixel fills any size, and a picture its own', (filter) => {
  const dot: Pixels = { data: Uint8Array.of(93), width: 1, height: 1, channels: 1 };
  expect([...resizePixels(dot, 3, 5, filter).data]).toEqual(Array(15).fill(93));
  expect([...resizePixels(source, 6, 8, filter).data]).toEqual([...source.data]);
});

test('halves are rounded to the even neighbour', () => {
  expect([0.5, 1.5, 2.5, 2.4999, 341.5].map(roundHalfToEven)).toEqual([0, 2, 2, 2, 342]);
});
