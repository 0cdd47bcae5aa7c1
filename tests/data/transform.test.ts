// Where squares are cut, mirrored and turned, on pixels that can be counted; and what files are decoded to.
import { describe, expect, test } from 'vitest';
import sharp from 'sharp';
import { crop, mirror, type Pixels } from '../../lib/data/pixels.js';
import { resizePixels } from '../../lib/data/resize.js';
import {
  checkTransform,
  transformPixels,
  type Draws,
  type TransformOptions,
} from '../../lib/data/transform.js';
import { decodeImage } from '../../lib/io/decode_image.js';
import { ArgumentError, FileError } from '../../lib/index.js';
import { pictureBytes } from './pictures.js';

/** Grey, counted from 0 row by row. */
const counted = (height: number, width: number): Pixels => ({
  data: Uint8Array.from({ length: height * width }, (_, i) => i),
  height,
  width,
  channels: 1,
});
const none: Draws = [0, 0, 0, 0.999];
const run = (image: Pixels, options: TransformOptions, draws: Draws = none) => {
  const { data, height, width } = transformPixels(image, options, draws, 'a.png').pixels;
  expect([height, width]).toEqual([options.size, options.size]);
  return [...data];
};

describe('squares', () => {
  // 0 1 2 3 4
  // 5 6 7 8 9
  const wide = counted(2, 5);
  const options: TransformOptions = { size: 2 };

  test('come from the middle, half a pixel to the left', () => {
    expect(run(wide, options)).toEqual([1, 2, 6, 7]);
    expect(run(counted(5, 2), options)).toEqual([2, 3, 4, 5]);
  });

  test('or have any side from a least one to the smaller side, and are resized', () => {
    const region = (height: number, width: number, draws: Draws) =>
      transformPixels(
        counted(height, width),
        { size: 2, minCropSide: 3, randomCrop: true, channels: 1 },
        draws,
        'a.png',
      ).region;
    expect(region(6, 9, [0, 0, 0, 1])).toMatchObject({ x: 0, y: 0, width: 3, height: 3 });
    expect(region(6, 9, [0.999, 0.5, 0.999, 1])).toMatchObject({ x: 2, y: 0, width: 6 });
    expect(region(6, 9, [0.5, 0, 0.5, 1])).toMatchObject({ x: 2, width: 5, height: 5 });
    // a smaller picture gives all of its smaller side
    expect(region(2, 5, [0.999, 0, 0.4, 1])).toMatchObject({ x: 1, width: 2, height: 2 });
  });

  test('or from anywhere, rounded down', () => {
    const random = { ...options, randomCrop: true };
    expect(run(wide, random, [0, 0.9, 0, 1])).toEqual([0, 1, 5, 6]);
    expect(run(wide, random, [0, 0.9, 0.67, 1])).toEqual([2, 3, 7, 8]);
    expect(run(wide, random, [0, 0.9, 0.999, 1])).toEqual([2, 3, 7, 8]);
    expect(run(counted(5, 2), random, [0, 0.67, 0.9, 1])).toEqual([4, 5, 6, 7]);
  });

  test('are mirrored below the probability', () => {
    const flipped = { ...options, flip: 0.5 };
    expect(run(wide, flipped, [0, 0, 0, 0.49])).toEqual([2, 1, 7, 6]);
    expect(run(wide, flipped, [0, 0, 0, 0.5])).toEqual([1, 2, 6, 7]);
    const colour = { data: Uint8Array.of(1, 2, 3, 4, 5, 6), width: 2, height: 1, channels: 3 };
    expect([...mirror(colour).data]).toEqual([4, 5, 6, 1, 2, 3]);
  });

  test('of native resolution need a picture that is large enough', () => {
    const native = { size: 3, smallestSide: null };
    expect(run(counted(4, 5), native)).toEqual([1, 2, 3, 6, 7, 8, 11, 12, 13]);
    expect(() => run(wide, native)).toThrow(FileError);
    expect(() => run(wide, native)).toThrow(/a\.png: 5 x 2 pixels are too few/);
  });

  test('are what a resize of the whole and a cut give', () => {
    const image: Pixels = {
      data: pictureBytes(1, { width: 21, height: 14 }),
      width: 21,
      height: 14,
      channels: 3,
    };
    // scale 8 / 14: 21 becomes 12
    const whole = resizePixels(image, 8, 12, 'linear');
    const cut = crop(whole, { top: 1, left: 3, height: 6, width: 6 });
    expect(run(image, { size: 6, smallestSide: 8 })).toEqual([...cut.data]);
    // Half to even: 7 * 5 / 10 = 3.5 becomes 4, 9 * 5 / 10 = 4.5 becomes 4.
    for (const [width, resized] of [
      [14, 7],
      [18, 9],
    ])
      expect(run(counted(10, width), { size: 5 })).toEqual([
        ...crop(resizePixels(counted(10, width), 5, resized, 'linear'), {
          top: 0,
          left: (resized - 5) >> 1,
          height: 5,
          width: 5,
        }).data,
      ]);
  });

  test('may be cut first: the largest, or a random fraction of it', () => {
    const image = counted(6, 9);
    const largest: TransformOptions = { size: 3, cropFraction: [1, 1], filter: 'bicubic' };
    const middle = crop(image, { top: 0, left: 1, height: 6, width: 6 });
    expect(run(image, largest)).toEqual([...resizePixels(middle, 3, 3, 'bicubic').data]);
    // side floor(6 * (0.5 + 0.5 * 0.4)) = 4, top floor(2 * 0.6), left floor(5 * 0.7)
    const random: TransformOptions = {
      size: 2,
      cropFraction: [0.5, 1],
      filter: 'area',
      randomCrop: true,
    };
    const part = crop(image, { top: 1, left: 3, height: 4, width: 4 });
    expect(run(image, random, [0.4, 0.6, 0.7, 1])).toEqual([
      ...resizePixels(part, 2, 2, 'area').data,
    ]);
    expect(run(counted(1, 1), { ...random, size: 1 })).toEqual([0]);
  });
});

test.each<[string, object]>([
  ['size', { size: 0 }],
  ['size is required', {}],
  ['smallestSide 10', { size: 16, smallestSide: 10 }],
  ['cropFraction', { size: 16, cropFraction: [0.5, 1.5] }],
  ['not both', { size: 16, cropFraction: [1, 1], smallestSide: 20 }],
  ['filter', { size: 16, filter: 'cubic' }],
  ['flip', { size: 16, flip: 2 }],
  ['channels', { size: 16, channels: 4 }],
  ['maxPixels', { size: 16, maxPixels: 1.5 }],
  ['background', { size: 16, background: 'no colour' }],
])('an impossible option is named: %s', (name, options) => {
  expect(() => checkTransform(options as TransformOptions)).toThrow(ArgumentError);
  expect(() => checkTransform(options as TransformOptions)).toThrow(name);
});

describe('decoding', () => {
  const [width, height] = [3, 2];
  const raw = { width, height, channels: 3 } as const;
  const colours = pictureBytes(3, raw);
  const picture = () => sharp(colours, { raw });

  // Where each pixel of the upright picture lies in the stored one.
  const upright: Record<number, (y: number, x: number) => [number, number]> = {
    1: (y, x) => [y, x],
    2: (y, x) => [y, width - 1 - x],
    3: (y, x) => [height - 1 - y, width - 1 - x],
    4: (y, x) => [height - 1 - y, x],
    5: (y, x) => [x, y],
    6: (y, x) => [height - 1 - x, y],
    7: (y, x) => [height - 1 - x, width - 1 - y],
    8: (y, x) => [x, width - 1 - y],
  };

  test.each(Object.keys(upright).map(Number))('EXIF orientation %i', async (orientation) => {
    const encoded = await picture()
      .withMetadata({ orientation })
      .webp({ lossless: true })
      .toBuffer();
    const stored = await decodeImage(encoded, 'a.webp', { orient: false });
    expect([...stored.data]).toEqual([...colours]);
    const turned = await decodeImage(encoded, 'a.webp');
    const sides = orientation < 5 ? [height, width] : [width, height];
    expect([turned.height, turned.width]).toEqual(sides);
    const expected: number[] = [];
    for (let y = 0; y < turned.height; ++y)
      for (let x = 0; x < turned.width; ++x) {
        const [fromY, fromX] = upright[orientation](y, x);
        const from = (fromY * width + fromX) * 3;
        expected.push(...colours.subarray(from, from + 3));
      }
    expect([...turned.data]).toEqual(expected);
  });

  test('sixteen bits become eight', async () => {
    const sixteen = Uint16Array.of(0x0000, 0x4040, 0x8080, 0xffff);
    const encoded = await sharp(sixteen, { raw: { width: 4, height: 1, channels: 1 } })
      .toColourspace('grey16')
      .png()
      .toBuffer();
    expect((await sharp(encoded).metadata()).depth).toBe('ushort');
    const grey = await decodeImage(encoded, 'a.png', { channels: 1 });
    expect([...grey.data]).toEqual([0x00, 0x40, 0x80, 0xff]);
    const colour = await decodeImage(encoded, 'a.png');
    expect([...colour.data]).toEqual([0x00, 0x40, 0x80, 0xff].flatMap((v) => [v, v, v]));
  });

  test('CMYK becomes RGB, grey has one channel or three', async () => {
    const orange = { create: { width: 8, height: 8, channels: 3, background: '#c86432' } } as const;
    const cmyk = await sharp(orange).toColourspace('cmyk').jpeg().toBuffer();
    expect((await sharp(cmyk).metadata()).channels).toBe(4);
    const { data, channels } = await decodeImage(cmyk, 'a.jpg');
    expect([channels, data.length]).toEqual([3, 192]);
    [0xc8, 0x64, 0x32].forEach((byte, c) => expect(Math.abs(data[c] - byte)).toBeLessThan(40));
    expect((await decodeImage(cmyk, 'a.jpg', { channels: 1 })).data.length).toBe(64);
  });

  test('an animation gives its first picture', async () => {
    const frames = Buffer.alloc(4 * 4 * 3 * 2);
    frames.fill(255, 4 * 4 * 3);
    const gif = await sharp(frames, { raw: { width: 4, height: 8, channels: 3, pageHeight: 4 } })
      .gif()
      .toBuffer();
    expect((await sharp(gif).metadata()).pages).toBe(2);
    const { data, height: rows } = await decodeImage(gif, 'a.gif');
    expect(rows).toBe(4);
    expect([...data]).toEqual(Array(48).fill(0));
  });

  test.each(['png', 'jpeg', 'webp', 'avif', 'gif', 'tiff'] as const)(
    '%s is read',
    async (format) => {
      const { width, channels } = await decodeImage(
        await picture().toFormat(format).toBuffer(),
        'a',
      );
      expect([width, channels]).toEqual([3, 3]);
    },
  );

  test('a drawing, whose filters could run without end, is no picture', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"></svg>';
    for (const text of [svg, `<?xml version="1.0"?>\n${svg}`])
      await expect(decodeImage(Buffer.from(text), 'a.png')).rejects.toThrow(/none of PNG, JPEG/);
  });

  test('more pixels than allowed are refused before they are decoded', async () => {
    // 30,000 x 30,000 in a few hundred bytes of header and no data.
    const header = await picture().png().toBuffer();
    header.writeUInt32BE(30_000, 16);
    header.writeUInt32BE(30_000, 20);
    await expect(decodeImage(header, 'bomb.png')).rejects.toThrow(FileError);
    const png = await picture().png().toBuffer();
    await expect(decodeImage(png, 'big.png', { maxPixels: 5 })).rejects.toThrow(
      /big\.png.*limit of 5 \(maxPixels\)/,
    );
    expect((await decodeImage(png, 'big.png', { maxPixels: 6 })).width).toBe(3);
  });
});
