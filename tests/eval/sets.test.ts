// Sets of pictures: what must not change a bit of their scores, what is kept of a reference, what is refused.
import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  extractSet,
  FileError,
  loadMoments,
  openPictureSet,
  openReference,
  originOf,
  PictureExtractor,
  readSamplingRecord,
  saveMoments,
  saveReference,
  scoreSets,
  setNumThreads,
  tidy,
  writeNpz,
  type PictureSetOptions,
  type SetScores,
} from '../../lib/index.js';
import { FeatureTable } from '../../lib/eval/features.js';
import { emojiExtractorFile } from '../../lib/metrics/emoji_extractor.js';
import { temporaryFolder } from '../io/temporary.js';
import { drawing, drawingFolder, range, writeDrawing } from './drawings.js';

const inFolder = temporaryFolder();
const [samples, real] = [inFolder('samples'), inFolder('real')];
let extractor: PictureExtractor;

beforeAll(async () => {
  extractor = await PictureExtractor.open({ name: 'emoji' });
  await drawingFolder(samples, range(0, 21));
  await drawingFolder(real, range(30, 60));
});

afterAll(() => extractor.dispose());

const scored = (
  path: string,
  reference = real,
  options: PictureSetOptions & { cache?: string } = {},
): Promise<SetScores & { hash: string }> =>
  tidy(async () => {
    const against = await openReference(reference, extractor, options);
    const features = await extractSet(await openPictureSet(path, options), extractor);
    return { ...(await scoreSets(features, against)), hash: features.hash };
  });

async function npzOf(name: string, numbers: readonly number[]): Promise<string> {
  const data = Uint8Array.from(Buffer.concat(numbers.map((number) => drawing(number).data)));
  const shape = [numbers.length, 16, 16, 3];
  await writeNpz(inFolder(name), [['arr_0', { shape, dtype: 'uint8', data }]]);
  return inFolder(name);
}

test('what shows samples once more is none, where samples lie', async () => {
  const folder = await drawingFolder(inFolder('overviews'), range(0, 4), (n) => `00000${n}.png`);
  await writeDrawing(join(folder, 'grid-000000.png'), drawing(5, 40, 20));
  await writeDrawing(join(folder, '000002_boxes.png'), drawing(6, 20, 20));
  expect((await openPictureSet(folder)).count).toBe(6);
  writeFileSync(join(folder, 'sampling_config.json'), '[{"first": 0, "count": 4}]');
  const set = await openPictureSet(folder);
  expect(set.count).toBe(4);
  const seen: string[] = [];
  await set.visit(3, (pictures) => {
    seen.push(...pictures.map(({ name }) => name));
    return Promise.resolve();
  });
  expect(seen).toEqual(range(0, 4).map((n) => `00000${n}.png`));
  expect((await readSamplingRecord(folder, set.count))?.notes).toEqual([]);
});

describe('scores are the same to the bit', () => {
  let expected: Awaited<ReturnType<typeof scored>>;
  beforeAll(async () => (expected = await scored(samples)));

  test('all seven are there and differ for other samples', async () => {
    const names = ['fid', 'kid', 'inceptionScore', 'precision', 'recall', 'density', 'coverage'];
    expect(Object.keys(expected.scores)).toEqual(names);
    const others = await scored(await drawingFolder(inFolder('others'), range(100, 121)));
    expect(others.scores).not.toEqual(expected.scores);
    expect(others.hash).not.toBe(expected.hash);
  });

  test('whatever the files are called, and whether they are files', async () => {
    const nameOf = (number: number) => `${(number * 37) % 101}-${number}.png`;
    const renamed = await drawingFolder(inFolder('renamed'), range(0, 21), nameOf);
    expect(await scored(renamed)).toEqual(expected);
    expect(await scored(await npzOf('samples.npz', range(0, 21).reverse()))).toEqual(expected);
    const array = await npzOf('real.npz', range(30, 60));
    expect(await scored(samples, array)).toEqual(expected);
  });

  test('whatever the number of threads', async () => {
    onTestFinished(() => setNumThreads(2));
    for (const threads of [1, 3]) {
      setNumThreads(threads);
      expect(await scored(samples)).toEqual(expected);
    }
  });

  test('features are a function of the picture alone', async () => {
    const pictures = range(0, 11).map((number) => ({ ...drawing(number), channels: 3 }));
    const together = await extractor.extract(pictures);
    for (const [i, picture] of pictures.entries()) {
      const alone = await extractor.extract([picture]);
      const { width, classes } = extractor;
      expect(alone.features).toEqual(together.features.subarray(i * width, (i + 1) * width));
      expect(alone.logits).toEqual(together.logits.subarray(i * classes, (i + 1) * classes));
    }
  });
});

describe('a reference', () => {
  test('is kept, found again, and made again when it is damaged', async () => {
    const cache = inFolder('cache');
    const extract = vi.spyOn(extractor, 'extract');
    onTestFinished(() => extract.mockRestore());
    const open = () => openReference(real, extractor, { cache });
    const first = await open();
    expect([first.kept, first.count]).toEqual([false, 30]);
    const calls = extract.mock.calls.length;
    const second = await open();
    expect(second).toMatchObject({ kept: true, count: 30, hash: first.hash });
    expect(extract.mock.calls.length).toBe(calls);
    expect(second.moments).toEqual(first.moments);
    expect(await second.features!.data()).toEqual(await first.features!.data());
    const [file] = readdirSync(cache);
    expect(await loadMoments(join(cache, file))).toEqual(first.moments);
    truncateSync(join(cache, file), 1000);
    expect((await open()).kept).toBe(false);
    expect((await open()).kept).toBe(true);
    // by another network or way of resizing it is another reference
    const other = await PictureExtractor.open({ name: 'emoji', resize: 'tf' });
    expect((await openReference(real, other, { cache })).kept).toBe(false);
    expect((await openReference(real, extractor, { cache, size: 8 })).kept).toBe(false);
    other.dispose();
  });

  test('has a hash of names and bytes', async () => {
    const hash = async (folder: string) => (await openPictureSet(folder)).hash();
    const [a, b] = [inFolder('a'), inFolder('b')];
    await drawingFolder(a, [1, 2, 3]);
    await drawingFolder(b, [3, 1, 2]);
    expect(await hash(a)).toBe(await hash(b));
    await drawingFolder(b, [4]);
    expect(await hash(a)).not.toBe(await hash(b));
    await drawingFolder(inFolder('c'), [1, 2, 3], (number) => `${4 - number}.png`);
    expect(await hash(a)).not.toBe(await hash(inFolder('c')));
  });

  test('may be a file of statistics, with features or without', async () => {
    const expected = await scored(samples);
    const { moments, features } = await openReference(real, extractor);
    const origin = originOf(extractor);
    await saveReference(inFolder('full.npz'), { moments, features: features!, origin });
    const full = await scored(samples, inFolder('full.npz'));
    expect(full.scores).toEqual(expected.scores);
    await saveMoments(inFolder('moments.npz'), moments);
    const { scores, notes } = await scored(samples, inFolder('moments.npz'));
    const { fid, inceptionScore } = expected.scores;
    expect(scores).toEqual({ fid, inceptionScore });
    expect(notes.join(' ')).toMatch(/moments alone: KID, precision/);
  });

  test('in a file is refused where its features were taken otherwise', async () => {
    const { moments, features } = await openReference(real, extractor);
    const path = inFolder('origin.npz');
    const origin = originOf(extractor, { size: 16 });
    await saveReference(path, { moments, features: features!, origin });
    await expect(openReference(path, extractor)).rejects.toThrow(/size 16 instead of null/);
    expect((await openReference(path, extractor, { size: 16 })).count).toBe(30);
    const other = await PictureExtractor.open({ name: 'emoji', resize: 'tf' });
    await expect(openReference(path, other, { size: 16 })).rejects.toThrow(
      /origin\.npz.*resize "clean" instead of "tf"/,
    );
    other.dispose();
    for (const text of ['{', 'null', '[]', '{"name":7}']) {
      const data = new TextEncoder().encode(text);
      await saveMoments(path, moments, { origin: { shape: [data.length], dtype: 'uint8', data } });
      await expect(openReference(path, extractor)).rejects.toThrow(FileError);
    }
  });

  test("of the ADM evaluator's kind gives its moments, and its pictures to the rest", async () => {
    const { moments } = await openReference(samples, extractor);
    const data = Uint8Array.from(Buffer.concat(range(30, 60).map((n) => drawing(n).data)));
    const pictures = { shape: [30, 16, 16, 3], dtype: 'uint8', data } as const;
    await saveMoments(inFolder('both.npz'), moments, { arr_0: pictures });
    const { scores } = await scored(samples, inFolder('both.npz'));
    expect(scores.fid).toBeLessThan(1e-6);
    expect(scores.kid).toEqual((await scored(samples)).scores.kid);
  });
});

describe('small and uneven sets', () => {
  test('few samples are scored with a warning', async () => {
    const few = await scored(samples);
    expect(few.notes).toHaveLength(2);
    expect(few.notes[0]).toMatch(/Of the samples.*21 samples of 128 dimensions.*biased upwards/);
    expect(few.parameters).toMatchObject({ kidSubsetSize: 11, splits: 1 });
    const three = await scored(await drawingFolder(inFolder('three'), [0, 1, 2]));
    expect(three.notes.at(-1)).toMatch(/more than 5 pictures in both sets/);
    expect(Object.keys(three.scores)).toEqual(['fid', 'kid', 'inceptionScore']);
    const two = await scored(await drawingFolder(inFolder('two'), [0, 1]));
    expect(two.parameters.kidSubsetSize).toBe(2);
    expect(Object.keys(two.scores)).toEqual(['fid', 'kid', 'inceptionScore']);
  });

  test('one is none', async () => {
    const one = await drawingFolder(inFolder('one'), [0]);
    await expect(scored(one)).rejects.toThrow(/at least 2 samples/);
    await expect(scored(samples, one)).rejects.toThrow(/one\b.*at least 2 pictures/);
  });

  test('sizes must be one, unless all are cut to one', async () => {
    const mixed = await drawingFolder(inFolder('mixed'), [0, 1]);
    await writeDrawing(join(mixed, '9.png'), drawing(9, 20, 18));
    await expect(scored(mixed)).rejects.toThrow(/9\.png: is 20 x 18 pixels, but 0\.png is 16 x 16/);
    expect((await scored(mixed, real, { size: 8 })).scores.fid).toBeGreaterThan(0);
  });
});

describe('what is refused', () => {
  test.each<[string, () => string | Promise<string>, RegExp]>([
    ['nothing', () => inFolder('nowhere'), /no such file or folder/],
    ['an empty folder', () => folderOf('empty'), /holds no pictures/],
    ['a folder of other things', () => folderOf('texts', 'notes.txt'), /holds no pictures/],
    [
      'a damaged picture',
      () => folderOf('damaged', '1.png'),
      /1\.png: cannot be read as a picture/,
    ],
    [
      'an array of other things',
      () => arrayOf('flat', [4, 6]),
      /arr_0 is uint8 \[4, 6\], expected/,
    ],
    ['no pictures in an array', () => arrayOf('none', [0, 4, 4, 3]), /arr_0 is uint8 \[0, 4/],
    ['huge ones', () => arrayOf('huge', [1, 1, 2 ** 25, 3]), /too large/],
    ['a file that is no archive', () => join(samples, '1.png'), /cut off/],
  ])('%s', async (_, make, message) => {
    const path = await make();
    await expect(scored(path)).rejects.toThrow(FileError);
    await expect(scored(path)).rejects.toThrow(message);
  });

  test('more pictures than the memory has room for', () => {
    expect(() => new FeatureTable(2 ** 26, 128, 9)).toThrow(/67108864 pictures of 128.*too many/);
  });

  test('statistics of another network', async () => {
    const moments = { mean: new Float64Array(3), covariance: new Float64Array(9) };
    await saveMoments(inFolder('narrow.npz'), moments);
    await expect(scored(samples, inFolder('narrow.npz'))).rejects.toThrow(
      /of 3 features, but emoji has 128/,
    );
    const features = { shape: [2, 3], dtype: 'float32', data: new Float32Array(6) } as const;
    const wide = { mean: new Float64Array(128), covariance: new Float64Array(128 ** 2) };
    await saveMoments(inFolder('odd.npz'), wide, { features });
    await expect(scored(samples, inFolder('odd.npz'))).rejects.toThrow(
      /expected float32 \[N, 128\]/,
    );
  });

  test('weights of another network, and none', async () => {
    const open = (options: object) => PictureExtractor.open({ name: 'inception', ...options });
    await expect(open({ weights: emojiExtractorFile })).rejects.toThrow(
      /is not the network of FID/,
    );
    await expect(open({ weights: inFolder('none.pth') })).rejects.toThrow(
      /does not exist.*pytorch-fid/,
    );
    await expect(open({})).rejects.toThrow(/needs the path of its weights/);
    await expect(open({ name: 'emoji', weights: 'x' })).rejects.toThrow(/come with the package/);
    await expect(open({ name: 'vgg' })).rejects.toThrow(/one of inception, emoji/);
    await expect(open({ name: 'emoji', resize: 'best' })).rejects.toThrow(/one of tf, clean/);
  });

  test('a signal ends the work', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    const set = await openPictureSet(samples);
    await expect(extractSet(set, extractor, { signal })).rejects.toThrow('enough');
    const cache = inFolder('never');
    await expect(openReference(real, extractor, { signal, cache })).rejects.toThrow('enough');
    expect(existsSync(cache)).toBe(false);
  });
});

function folderOf(name: string, file?: string): string {
  mkdirSync(inFolder(name), { recursive: true });
  if (file !== undefined) writeFileSync(join(inFolder(name), file), 'no picture');
  return inFolder(name);
}

async function arrayOf(name: string, shape: number[]): Promise<string> {
  const data = new Uint8Array(shape.reduce((a, b) => a * b, 1));
  const path = inFolder(`${name}.npz`);
  await writeNpz(path, [['arr_0', { shape, dtype: 'uint8', data }]]);
  return path;
}
