import { mkdirSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import {
  DataLoader,
  FileError,
  ImageFolder,
  readImage,
  readImageSize,
  type TypedArray,
} from '../../lib/index.js';
import { decodeImage, type Pixels } from '../../lib/io/decode_image.js';
import { formatNpy } from '../../lib/io/npy.js';
import { listPictures } from '../../lib/metrics/folders.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();
const [height, width] = [2, 4];
const rows = Uint8Array.from({ length: height * width * 3 }, (_, i) => 10 * i + 3);
const planes = Uint8Array.from(
  rows,
  (_, i) => rows[3 * (i % (height * width)) + Math.floor(i / (height * width))],
);

function npy(shape: number[], data: TypedArray): Buffer {
  const dtype = data instanceof Float32Array ? 'float32' : 'uint8';
  return Buffer.concat([...(formatNpy('picture', { shape, dtype, data }).parts as Uint8Array[])]);
}

function save(name: string, bytes: Buffer): string {
  writeFileSync(inFolder(name), bytes);
  return inFolder(name);
}

test('arrays of bytes are pictures, channels first or last', async () => {
  for (const [shape, data] of [
    [[height, width, 3], rows],
    [[3, height, width], planes],
    [[1, 3, height, width], planes],
  ] as const) {
    const path = save('array.npy', npy([...shape], data));
    const { data: pixels, ...rest } = await decodeImage(npy([...shape], data), path);
    expect(rest).toEqual({ height, width, channels: 3 });
    expect([...pixels]).toEqual([...rows]);
    expect((await readImage(path)).shape).toEqual([height, width, 3]);
    expect(await readImageSize(path)).toEqual({ height, width });
  }
});

test('columns first, as NumPy may store them, and grey, as any other picture', async () => {
  const turned = Buffer.from(npy([height, width, 3], rows));
  turned.write(turned.toString('latin1').replace('False,', 'True, '), 'latin1');
  const columns = Uint8Array.from(rows, (_, i) => {
    const [row, column] = [i % height, Math.floor(i / height) % width];
    return rows[3 * (row * width + column) + Math.floor(i / (height * width))];
  });
  turned.set(columns, turned.length - columns.length);
  expect([...(await decodeImage(turned, 'a.npy')).data]).toEqual([...rows]);
  const png = await sharp(rows, { raw: { height, width, channels: 3 } })
    .png()
    .toBuffer();
  const grey = await decodeImage(npy([height, width, 3], rows), 'a.npy', { channels: 1 });
  expect(grey).toEqual(await decodeImage(png, 'a.png', { channels: 1 }));
});

test('a folder of them is a data set', async () => {
  const folder = inFolder('faces');
  mkdirSync(folder);
  for (const name of ['1.npy', '2.npy'])
    writeFileSync(`${folder}/${name}`, npy([1, 3, height, width], planes));
  expect(await listPictures(folder)).toEqual(['1.npy', '2.npy']);
  const loader = new DataLoader(await ImageFolder.open(folder), {
    batchSize: 2,
    transform: { size: 2 },
    workers: 0,
  });
  for await (const { image } of loader.epoch()) expect(image.shape).toEqual([2, 2, 2, 3]);
  await loader.dispose();
});

test('any changed byte of the header gives a picture or a FileError', async () => {
  const whole = npy([1, 3, height, width], planes);
  for (let at = 0; at < whole.length - planes.length; ++at)
    for (const byte of [0, 0x20, 0x39, 0xff]) {
      const bytes = Buffer.from(whole);
      bytes[at] = byte;
      const read = decodeImage(bytes, 'a.npy').catch((error: unknown) => error);
      const made = (await read) as Pixels | FileError;
      if (!(made instanceof FileError)) expect(made.data.length).toBe(planes.length);
    }
});

test('other arrays are refused with what they are, and so are damaged files', async () => {
  const refused = async (bytes: Buffer, message: RegExp, maxPixels?: number) => {
    const path = save('bad.npy', bytes);
    const wanted = new RegExp(`bad\\.npy.*${message.source}`, 's');
    await expect(readImage(path, { maxPixels })).rejects.toThrow(wanted);
    if (maxPixels === undefined) await expect(readImageSize(path)).rejects.toThrow(wanted);
  };
  const kinds = /uint8 of \[H, W, 3\], \[3, H, W\] or \[1, 3, H, W\]\. Got /;
  const refusedAs = (shape: number[], data: TypedArray, what: RegExp) =>
    refused(npy(shape, data), new RegExp(kinds.source + what.source));
  await refusedAs([3, 2, 4], Float32Array.from(planes), /float32 of \[3, 2, 4\]/);
  await refusedAs([6, 4], rows, /uint8 of \[6, 4\]/);
  await refusedAs([2, 3, 2, 2], rows, /uint8 of \[2, 3, 2, 2\]/);
  await refusedAs([0, 4, 3], new Uint8Array(0), /uint8 of \[0, 4, 3\]/);
  const whole = npy([3, height, width], planes);
  await refused(whole.subarray(0, -5), /24 bytes, but 19 bytes follow/);
  await refused(Buffer.concat([whole, Buffer.alloc(7)]), /24 bytes, but 31 bytes follow/);
  await refused(whole.subarray(0, 20), /header of \d+ bytes/);
  await refused(whole, /2 x 4 pixels|4 x 2 pixels/, 7);
});
