// Label maps: indices of palettes, colours by a map, the same part as the picture's, folders of pairs.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { checkLabelOptions } from '../../lib/data/conditions/segmentation.js';
import { cutLabels, loadLabelMap } from '../../lib/data/label_map.js';
import {
  FileError,
  MapFolder,
  readColourMap,
  readLabels,
  segmentation,
  type Dataset,
  type SegmentationOptions,
  type Tensor,
  type TransformOptions,
} from '../../lib/index.js';
import { decodeLabels } from '../../lib/io/decode_labels.js';
import { temporaryFolder } from '../io/temporary.js';
import { loaders, take, writePicture } from './pictures.js';

const file = temporaryFolder();
const load = loaders();

interface Png {
  width: number;
  height: number;
  depth?: number;
  /** 0 grey, 3 palette */
  kind?: number;
  interlaced?: number;
  /** rows as they are packed, each after its filter */
  rows: Uint8Array;
}

const chunk = (type: string, data: Uint8Array): Buffer => {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
};

function png({ width, height, depth = 8, kind = 0, interlaced = 0, rows }: Png): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, kind, 0, 0, interlaced], 8);
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const labels = (width: number, height: number) =>
  Uint8Array.from({ length: width * height }, (_, i) => (i * 7 + (i >> 3)) % 11);

describe('a PNG of labels', () => {
  test('gives grey bytes as they are, whatever the filters', async () => {
    const data = Uint8Array.from({ length: 37 * 23 }, (_, i) => (i * i) >> 4);
    const raw = { width: 37, height: 23, channels: 1 } as const;
    for (const adaptiveFiltering of [true, false]) {
      const encoded = await sharp(data, { raw })
        .toColourspace('b-w')
        .png({ adaptiveFiltering })
        .toBuffer();
      expect(await decodeLabels(encoded, 'map')).toEqual({ ...raw, data });
    }
    // each filter once, on rows that differ from their neighbours
    const rows = [0, 1, 2, 3, 4].flatMap((filter) => [filter, 9, 200, 30, 7]);
    const made = await decodeLabels(png({ width: 4, height: 5, rows: Uint8Array.from(rows) }), '');
    const reference = await sharp(png({ width: 4, height: 5, rows: Uint8Array.from(rows) }))
      .toColourspace('b-w')
      .raw()
      .toBuffer();
    expect([...made.data]).toEqual([...reference]);
  });

  test('gives the palette’s indices, not its colours', async () => {
    const pixels = Buffer.concat(
      Array.from(labels(20, 10), (label) => Buffer.from([20 * label, 255 - 20 * label, 9])),
    );
    const raw = { width: 20, height: 10, channels: 3 } as const;
    const encoded = await sharp(pixels, { raw }).png({ palette: true, colours: 16 }).toBuffer();
    const { data } = await decodeLabels(encoded, 'map');
    const at = encoded.indexOf('PLTE') + 4;
    const colours = await sharp(encoded).removeAlpha().raw().toBuffer();
    data.forEach((index, i) => {
      expect([...encoded.subarray(at + 3 * index, at + 3 * index + 3)]).toEqual([
        ...colours.subarray(3 * i, 3 * i + 3),
      ]);
    });
  });

  test.each([
    [1, [0b10110000, 0b01000000], [1, 0, 1, 1, 0]],
    [2, [0b11100100, 0b01000000], [3, 2, 1, 0, 1]],
    [4, [0x5a, 0xf0], [5, 10, 15]],
  ])('of %i bits is not stretched', async (depth, bytes, expected) => {
    const width = depth === 4 ? 3 : 5;
    const rows = Uint8Array.from([0, ...(depth === 1 ? bytes.slice(0, 1) : bytes)]);
    for (const kind of [0, 3]) {
      const { data } = await decodeLabels(png({ width, height: 1, depth, kind, rows }), '');
      expect([...data]).toEqual(expected);
    }
  });

  const good = () =>
    png({ width: 4, height: 2, rows: Uint8Array.from([0, 1, 2, 3, 4, 0, 5, 6, 7, 8]) });
  const changed = (at: number, value: number) => {
    const bytes = good();
    bytes[at] = value;
    return bytes;
  };
  test.each<[string, () => Buffer | Promise<Buffer>, string]>([
    ['no PNG', () => Buffer.from('GIF89a..........'), 'must be a PNG'],
    ['cut off', () => good().subarray(0, 50), 'ends too early'],
    ['empty', () => Buffer.alloc(0), 'must be a PNG'],
    ['with a changed byte', () => changed(45, 99), 'is damaged'],
    [
      'with other sizes',
      () => png({ width: 5, height: 2, rows: new Uint8Array(10) }),
      'instead of 12',
    ],
    [
      'with more pixels than it says',
      () => png({ width: 1, height: 1, rows: new Uint8Array(9e6) }),
      'damaged',
    ],
    [
      'of absurd sizes',
      () => png({ width: 2 ** 31 - 1, height: 2 ** 31 - 1, rows: new Uint8Array(2) }),
      'maxPixels',
    ],
    ['of no pixels', () => png({ width: 0, height: 4, rows: new Uint8Array(4) }), 'empty'],
    [
      'with an unknown filter',
      () => png({ width: 1, height: 1, rows: Uint8Array.from([9, 1]) }),
      'filter 9',
    ],
    [
      'interlaced',
      () => png({ width: 1, height: 1, interlaced: 1, rows: new Uint8Array(2) }),
      'interlaced',
    ],
    [
      'of 16 bits',
      () => png({ width: 1, height: 1, depth: 16, rows: new Uint8Array(3) }),
      '16 bits',
    ],
    [
      'of colours',
      () =>
        sharp({ create: { width: 2, height: 2, channels: 3, background: 'red' } })
          .png()
          .toBuffer(),
      'this PNG is colour of 8 bits. Where colours stand for labels, say so with a colour map',
    ],
  ])('%s is refused', async (_, make, message) => {
    const encoded = await make();
    await expect(decodeLabels(encoded, 'map.png')).rejects.toThrow(message);
    await expect(decodeLabels(encoded, 'map.png')).rejects.toBeInstanceOf(FileError);
  });
});

describe('a map of colours', () => {
  const colours = new Map([
    [0x102030, 4],
    [0xffffff, 0],
  ]);
  const picture = async (pixels: number[], format: 'png' | 'jpeg' = 'png') =>
    sharp(Buffer.from(pixels), { raw: { width: 2, height: 1, channels: 3 } })
      .toFormat(format)
      .toBuffer();

  test('gives what they stand for', async () => {
    const encoded = await picture([16, 32, 48, 255, 255, 255]);
    const { data } = await loadLabelMap({ encoded }, 'map', { colours });
    expect([...data]).toEqual([4, 0]);
  });

  test('with another colour, or stored with loss, is refused', async () => {
    const encoded = await picture([16, 32, 48, 255, 255, 254]);
    await expect(loadLabelMap({ encoded }, 'map', { colours })).rejects.toThrow(
      'the colour #fffffe at (1, 0) stands for no label',
    );
    const lossy = await picture([0, 0, 0, 0, 0, 0], 'jpeg');
    await expect(loadLabelMap({ encoded: lossy }, 'map', { colours })).rejects.toThrow('PNG');
  });

  test('is described by a JSON file', async () => {
    const written = (text: string) => (
      writeFileSync(file('colours.json'), text),
      file('colours.json')
    );
    expect(await readColourMap(written('{"#102030": 4, "#FFFFFF": 0}'))).toEqual(colours);
    for (const [text, message] of [
      ['{', 'a valid JSON'],
      ['[]', 'is an object such as'],
      ['null', 'is an object such as'],
      ['{}', 'names no colour'],
      ['{"red": 1}', '"red" is no colour'],
      ['{"#102030": 300}', 'a label from 0 to 255, got 300'],
      ['{"#102030": "1"}', 'got "1"'],
    ])
      await expect(readColourMap(written(text)), text).rejects.toThrow(message);
  });
});

/** Pictures whose red value is the map's label times 20, so that what was cut can be told apart. */
function pairs(width: number, height: number, wrong?: { map: [number, number] }): Dataset {
  const data = labels(width, height);
  const pixels = Uint8Array.from(
    { length: 3 * data.length },
    (_, i) => 20 * data[Math.floor(i / 3)],
  );
  const [w, h] = wrong?.map ?? [width, height];
  return {
    length: 2,
    item: (index) => ({
      path: `pair ${index}`,
      source: { pixels: { data: pixels, width, height, channels: 3 } },
      map: { pixels: { data: data.subarray(0, w * h), width: w, height: h, channels: 1 } },
    }),
  };
}

async function batchOf(
  dataset: Dataset,
  transform: TransformOptions,
  options: Partial<SegmentationOptions> = {},
) {
  const condition = segmentation({ labels: 11, ...options });
  const loader = load(dataset, { batchSize: 2, transform, condition });
  const [batch] = await take(loader.batches(), 1);
  return batch;
}

describe('as a condition', () => {
  test.each<[string, TransformOptions]>([
    ['cut from the middle', { size: 4, smallestSide: null }],
    ['cut anywhere and mirrored', { size: 5, smallestSide: null, randomCrop: true, flip: 1 }],
    ['of all of a square', { size: 8, flip: 0.5 }],
  ])('it is the picture’s own part, %s', async (_, transform) => {
    const dataset = transform.size === 8 ? pairs(8, 8) : pairs(12, 8);
    const batch = await batchOf(dataset, transform);
    const map = batch.condition as Tensor;
    const { size } = transform;
    expect(map.shape).toEqual([2, size, size, 11]);
    expect(map.dtype).toBe('float32');
    const one = (await map.data()) as Float32Array;
    expect(one.reduce((sum, x) => sum + x, 0)).toBe(2 * size * size);
    const { values } = batch;
    for (let i = 0; i < 2 * size * size; ++i) {
      const label = Math.round(((values[3 * i] + 1) * 127.5) / 20);
      expect(one[11 * i + label]).toBe(1);
    }
  });

  test('it takes the nearest label as OpenCV does, where sizes change', () => {
    const map = { data: labels(12, 9), width: 12, height: 9, channels: 1 };
    const whole = { x: 0, y: 0, width: 12, height: 9, mirrored: false };
    const at = (x: number, y: number) => map.data[12 * y + x];
    expect([...cutLabels(map, whole, [3, 4])]).toEqual(
      [0, 3, 6].flatMap((y) => [0, 3, 6, 9].map((x) => at(x, y))),
    );
    expect([...cutLabels(map, whole, [2, 5])]).toEqual(
      [0, 4].flatMap((y) => [0, 2, 4, 7, 9].map((x) => at(x, y))),
    );
    // two thirds of the size: places that are no whole numbers, and one that is only just
    const part = { x: 3 / (2 / 3), y: 1.5, width: 6, height: 6, mirrored: true };
    expect([...cutLabels(map, part, [4, 4])]).toEqual(
      [1, 3, 4, 6].flatMap((y) => [9, 7, 6, 4].map((x) => at(x, y))),
    );
  });

  test('shift and ignore say what bytes mean', async () => {
    const dataset: Dataset = {
      length: 2,
      item: () => ({
        path: 'p',
        source: { pixels: { data: new Uint8Array(12), width: 2, height: 2, channels: 3 } },
        map: {
          pixels: { data: Uint8Array.from([255, 0, 1, 2]), width: 2, height: 2, channels: 1 },
        },
      }),
    };
    const rows = async (options: Partial<SegmentationOptions>) => {
      const { condition } = await batchOf(dataset, { size: 2 }, { labels: 3, ...options });
      const values = [...((await (condition as Tensor).data()) as Float32Array)];
      return [0, 1, 2, 3].map((i) => values.slice(3 * i, 3 * i + 3).indexOf(1));
    };
    expect(await rows({ ignore: 255 })).toEqual([-1, 0, 1, 2]);
    expect(await rows({ shift: 1, ignore: 2 })).toEqual([0, 1, 2, -1]);
    await expect(rows({})).rejects.toThrow(
      '255 at (0, 0) is none of the 3 labels (0 to 2). If it stands for "unlabelled", say so: ignore 255',
    );
  });

  test('it must be there, and of its picture’s size', async () => {
    const plain: Dataset = { length: 2, item: (i) => ({ ...pairs(8, 8).item(i), map: undefined }) };
    await expect(batchOf(plain, { size: 8 })).rejects.toThrow('no label map beside this picture');
    await expect(batchOf(pairs(8, 8, { map: [4, 4] }), { size: 8 })).rejects.toThrow(
      'the label map has 4 x 4 pixels, its picture 8 x 8',
    );
  });

  test.each([
    [{ labels: 0 }, 'labels must be'],
    [{ labels: 257 }, "since a map's pixel is a byte"],
    [{ labels: 3, ignore: 256 }, 'ignore must be'],
    [{ labels: 3, shift: -1 }, 'shift must be'],
  ])('%j is refused', (options, message) => {
    expect(() => checkLabelOptions(options)).toThrow(message);
  });
});

test('a map for sampling has -1 where a pixel has no label', async () => {
  const rows = Uint8Array.from([0, 1, 0, 255, 2]);
  writeFileSync(file('map.png'), png({ width: 4, height: 1, rows }));
  const map = await readLabels(file('map.png'), { labels: 3, ignore: 255 });
  expect([map.dtype, map.shape]).toEqual(['int32', [1, 1, 4]]);
  expect([...(await map.data())]).toEqual([1, 0, -1, 2]);
  await expect(readLabels(file('map.png'), { labels: 3 })).rejects.toThrow('255 at (2, 0)');
});

describe('a folder of pairs', () => {
  const map = async (name: string) => {
    mkdirSync(dirname(file(name)), { recursive: true });
    const raw = { width: 10, height: 8, channels: 1 } as const;
    await sharp(Buffer.alloc(80, 3), { raw }).toColourspace('b-w').png().toFile(file(name));
  };

  test('has the map of each picture’s name', async () => {
    await writePicture(file('set/images/a/1.jpg'));
    await writePicture(file('set/images/2.png'));
    for (const name of ['a/1', '2', 'more']) await map(`set/annotations/${name}.png`);
    const set = await MapFolder.open(file('set'));
    expect([0, 1].map((i) => set.item(i))).toEqual([
      {
        path: file('set/images/2.png'),
        source: { file: file('set/images/2.png') },
        map: { file: file('set/annotations/2.png') },
      },
      {
        path: file('set/images/a/1.jpg'),
        source: { file: file('set/images/a/1.jpg') },
        map: { file: file('set/annotations/a/1.png') },
      },
    ]);
    const { condition } = await batchOf(set, { size: 4, orient: false });
    expect(await (condition as Tensor).select(3, 3).sum().item()).toBe(32);
  });

  test('says whose map is missing, and which folder', async () => {
    await writePicture(file('lacking/photos/1.jpg'));
    await map('lacking/labels/2.png');
    const folders = { images: 'photos', maps: 'labels' };
    await expect(MapFolder.open(file('lacking'), folders)).rejects.toThrow(
      'there is no label map for 1.jpg: expected PNG files of the same names',
    );
    await expect(MapFolder.open(file('lacking'))).rejects.toThrow(
      'there is no such file or folder',
    );
  });
});
