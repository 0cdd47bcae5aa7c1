import { symlinkSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import {
  FileError,
  makeGrid,
  readImage,
  readImageSize,
  tensor,
  writeImage,
  zeros,
} from '../../lib/index.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();
const ramp = Uint8Array.from({ length: 256 }, (_, i) => i);

async function savePng(name: string, pixels: Uint8Array, width: number, channels: 1 | 3 | 4) {
  const height = pixels.length / width / channels;
  await sharp(pixels, { raw: { width, height, channels } }).png().toFile(inFolder(name));
  return inFolder(name);
}

const rawBytes = async (path: string) => [...(await sharp(path).raw().toBuffer())];

test('a byte p reads as p / 127.5 - 1, and every byte survives reading and writing', async () => {
  const path = await savePng('ramp.png', ramp, 16, 1);
  const image = await readImage(path, { channels: 1 });
  expect(image.shape).toEqual([16, 16, 1]);
  expect([...(await image.data())]).toEqual([...ramp].map((p) => Math.fround(p / 127.5 - 1)));
  await writeImage(inFolder('copy.png'), image);
  const copy = await readImage(inFolder('copy.png'), { channels: 1 });
  expect(await copy.data()).toEqual(await image.data());
});

test('rows, columns and channels keep their places', async () => {
  const path = await savePng('colour.png', Uint8Array.of(255, 0, 0, 0, 255, 0), 2, 3);
  const image = await readImage(path);
  expect(image.shape).toEqual([1, 2, 3]);
  expect([...(await image.data())]).toEqual([1, -1, -1, -1, 1, -1]);
});

test('the size from the header is that of the picture read, turned as EXIF says', async () => {
  const lying = { create: { width: 4, height: 6, channels: 3, background: 'red' } } as const;
  await sharp(lying).withMetadata({ orientation: 6 }).jpeg().toFile(inFolder('turned.jpg'));
  expect((await readImage(inFolder('turned.jpg'))).shape).toEqual([4, 6, 3]);
  expect(await readImageSize(inFolder('turned.jpg'))).toEqual({ height: 4, width: 6 });
});

test('alpha is dropped, or shows the background', async () => {
  const path = await savePng('alpha.png', Uint8Array.of(10, 20, 30, 0), 1, 4);
  const bytes = async (image: Promise<Awaited<ReturnType<typeof readImage>>>) =>
    [...(await (await image).data())].map((v) => Math.round((Number(v) + 1) * 127.5));
  expect(await bytes(readImage(path))).toEqual([10, 20, 30]);
  expect(await bytes(readImage(path, { background: 'white' }))).toEqual([255, 255, 255]);
});

test('writes clamped and truncated bytes', async () => {
  // 0 is byte 127.5, which truncation makes 127
  const values = tensor([-7, -1, 0, 0.5, 1, 3], { shape: [1, 1, 2, 3] });
  await writeImage(inFolder('clamped.png'), values);
  expect(await rawBytes(inFolder('clamped.png'))).toEqual([0, 0, 127, 191, 255, 255]);
  await writeImage(inFolder('nan.png'), tensor([NaN, -1, 1], { shape: [1, 1, 3] }));
  expect(await rawBytes(inFolder('nan.png'))).toEqual([0, 0, 255]);
});

test('damaged and missing pictures, wrong names and shapes are refused', async () => {
  writeFileSync(inFolder('text.png'), 'not a picture');
  await expect(readImage(inFolder('text.png'))).rejects.toThrow(FileError);
  await expect(readImage(inFolder('none.png'))).rejects.toThrow(/none\.png/);
  symlinkSync('/dev/zero', inFolder('endless.png'));
  for (const read of [readImage, readImageSize])
    await expect(read(inFolder('endless.png'))).rejects.toThrow(/is a pipe or device/);
  await expect(writeImage(inFolder('a.xyz'), zeros([1, 1, 3]))).rejects.toThrow(/ends in \.png/);
  await expect(writeImage(inFolder('a.png'), zeros([2, 4, 4, 3]))).rejects.toThrow(
    /\[2, 4, 4, 3\]/,
  );
});

test('a grid has a border around each picture and fills missing ones', async () => {
  const images = tensor([1, 2, 3], { shape: [3, 1, 1, 1] });
  const grid = await makeGrid(images, { nrow: 2, padding: 1, padValue: 9 });
  expect(grid.shape).toEqual([5, 5, 3]);
  const red = [...(await grid.data())].filter((_, i) => i % 3 === 0);
  expect(red).toEqual(
    [
      [9, 9, 9, 9, 9],
      [9, 1, 9, 2, 9],
      [9, 9, 9, 9, 9],
      [9, 3, 9, 9, 9],
      [9, 9, 9, 9, 9],
    ].flat(),
  );
});

test('grid sizes follow the reference; a single picture stays as it is', async () => {
  expect((await makeGrid(zeros([9, 4, 5, 3]))).shape).toEqual([2 * 6 + 2, 8 * 7 + 2, 3]);
  expect((await makeGrid(zeros([3, 4, 5, 3]))).shape).toEqual([6 + 2, 3 * 7 + 2, 3]);
  expect((await makeGrid(zeros([1, 4, 5, 1]))).shape).toEqual([4, 5, 3]);
  await expect(makeGrid(zeros([4, 5, 3]))).rejects.toThrow(/\[4, 5, 3\]/);
});
