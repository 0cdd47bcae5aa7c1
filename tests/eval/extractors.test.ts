// What pictures go through before they are scored: FID's own network, and any other.
import { createHash } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import {
  extractSet,
  InceptionV3,
  loadInception,
  openPictureSet,
  openReference,
  PictureExtractor,
  resize,
  scoreSets,
  tensor,
  tidy,
  writeSafetensors,
  type Pixels,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { drawing, drawingFolder, range } from './drawings.js';

const inFolder = temporaryFolder();
const weights = inFolder('inception.safetensors');
// Not of the network's size and not square, so that every resize has something to do.
const pictures: Pixels[] = [1, 2].map((number) => ({ ...drawing(number, 41, 50), channels: 3 }));

const bytesOf = ({ data, width, height }: Pixels): Tensor =>
  tensor(Uint8Array.from(data), { shape: [1, height, width, 3] });

/** Of the ways before. */
const seen: Float32Array[] = [];

beforeAll(async () => {
  const network = new InceptionV3();
  await writeSafetensors(weights, new Map(network.exportState()));
  network.dispose();
}, 120_000);

test.each(['tf', 'clean'] as const)(
  'features of inception with --resize %s are those of the network',
  async (way) => {
    const extractor = await PictureExtractor.open({ name: 'inception', weights, resize: way });
    expect([extractor.width, extractor.classes]).toEqual([2048, 1008]);
    const { features, logits } = await extractor.extract(pictures);
    extractor.dispose();
    const network = await loadInception(weights);
    const expected = await tidy(async () => {
      const fitted = pictures.map((picture) => {
        const x = bytesOf(picture);
        if (way === 'tf') return x; // the network's own way with bytes
        return resize(x.to('float32'), { size: [299, 299], mode: 'bicubic', antialias: true });
      });
      const outputs = fitted.map((x) => network.forward(x));
      return {
        features: outputs.flatMap((each) => [...(each[2048].dataSync() as Float32Array)]),
        logits: outputs.flatMap((each) => [...(each.logits.dataSync() as Float32Array)]),
      };
    });
    network.dispose();
    for (const [found, wanted] of [
      [features, expected.features],
      [logits, expected.logits],
    ] as const) {
      expect(found.length).toBe(wanted.length);
      const scale = Math.max(...wanted.map(Math.abs));
      found.forEach((value, i) => {
        expect(Math.abs(value - wanted[i])).toBeLessThan(1e-4 * scale);
      });
    }
    // The two pictures differ, and so do the ways to resize.
    expect(features.subarray(0, 2048)).not.toEqual(features.subarray(2048));
    for (const other of seen) expect(features).not.toEqual(other);
    seen.push(features);
  },
);

/** Means of colours in four quarters. */
const quarters = {
  ...{ side: 8, width: 12, classes: 3 },
  run(x: Tensor) {
    const means = x.reshape([x.shape[0], 2, 4, 2, 4, 3]).mean([2, 4]);
    return { features: means.reshape([x.shape[0], 12]), logits: means.mean([1, 2]).div(50) };
  },
  dispose: () => undefined,
};
const weightsHash = createHash('sha256').update('quarters').digest('hex');

test('any network scores sets', async () => {
  const extractor = PictureExtractor.of(quarters, { name: 'quarters', weightsHash });
  const [samples, real] = [inFolder('samples'), inFolder('real')];
  await drawingFolder(samples, range(0, 20));
  await drawingFolder(real, range(20, 45));
  await tidy(async () => {
    const reference = await openReference(real, extractor);
    const set = await extractSet(await openPictureSet(samples), extractor);
    expect(set.features.shape).toEqual([20, 12]);
    const { scores } = await scoreSets(set, reference);
    expect(scores.fid).toBeGreaterThan(0);
    expect(scores.inceptionScore).toMatchObject({ mean: expect.any(Number) as number });
    const own = await openReference(samples, extractor);
    expect((await scoreSets(set, own)).scores.fid).toBeLessThan(1e-6);
  });
  // One picture: the mean of a quarter, from bytes.
  const flat: Pixels = {
    data: new Uint8Array(8 * 8 * 3).fill(7),
    width: 8,
    height: 8,
    channels: 3,
  };
  expect([...(await extractor.extract([flat])).features]).toEqual(new Array(12).fill(7));
});

test('the number of pictures at once changes no bit', async () => {
  const some = range(0, 11).map((number): Pixels => ({ ...drawing(number), channels: 3 }));
  const featuresOf = async (batch: number, parts: readonly (readonly Pixels[])[]) => {
    const extractor = await PictureExtractor.open({ name: 'emoji', batch });
    const rows: number[] = [];
    for (const part of parts) rows.push(...(await extractor.extract(part)).features);
    extractor.dispose();
    return rows;
  };
  const expected = await featuresOf(32, [some]);
  expect(expected.length).toBe(11 * 128);
  for (const batch of [1, 4])
    for (const parts of [[some], [some.slice(0, 3), some.slice(3)]])
      expect(await featuresOf(batch, parts)).toEqual(expected);
});

test('networks of no size and hashes that are none are refused', () => {
  const options = { name: 'quarters', weightsHash };
  expect(() => PictureExtractor.of({ ...quarters, width: 0 }, options)).toThrow(/width 0/);
  expect(() => PictureExtractor.of(quarters, { ...options, weightsHash: 'ab' })).toThrow(
    /SHA-256.*'ab'/,
  );
  expect(() => PictureExtractor.of(quarters, { ...options, resize: 'best' as 'tf' })).toThrow(
    /tf, clean.*best/,
  );
});
