// The loader's orders, resumption, back-pressure and end.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  DisposedError,
  ImageFolder,
  MemoryImages,
  tidy,
  type DataLoaderOptions,
  type Dataset,
  type Tensor,
} from '../../lib/index.js';
import type { Job } from '../../lib/data/prepare.js';
import { temporaryFolder } from '../io/temporary.js';
import { loaders, memory, take, writePicture } from './pictures.js';

const inFolder = temporaryFolder();
const load = loaders();

/** Eleven pictures of different sizes in two classes. */
let folder: ImageFolder;
beforeAll(async () => {
  for (let n = 0; n < 11; ++n)
    await writePicture(inFolder(`pictures/${n % 2}/${n}.png`), n, { width: 9 + n, height: 17 - n });
  folder = await ImageFolder.open(inFolder('pictures'), { labels: 'folders' });
});

/** Pictures that are there when they are let through. */
function gated(count: number) {
  const inMemory = memory(count);
  const waiting: (() => void)[] = [];
  const dataset: Dataset & { asked: number; open(): Promise<void> } = {
    length: count,
    asked: 0,
    item: (index) => ({
      path: `gated ${index}`,
      source: async () => {
        ++dataset.asked;
        await new Promise<void>((resolve) => waiting.push(resolve));
        return inMemory.item(index).source as Exclude<
          ReturnType<Dataset['item']>['source'],
          () => unknown
        >;
      },
    }),
    async open() {
      waiting.splice(0).forEach((pass) => pass());
      for (let i = 0; i < 5; ++i) await turn();
    },
  };
  return dataset;
}

describe('order', () => {
  test('every epoch has its own, a short last batch is dropped or kept', async () => {
    const dataset = memory(10);
    const loader = load(dataset);
    expect(loader.batchesPerEpoch).toBe(3);
    const seen = await take(loader.batches(), 6);
    const epochs = [0, 3].map((from) => seen.slice(from, from + 3).flatMap(({ index }) => index));
    for (const epoch of epochs) expect(new Set(epoch).size).toBe(9);
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect(seen[0].shape).toEqual([3, 4, 4, 3]);
    expect(seen[0].path).toEqual(seen[0].index.map((i) => `picture ${i}`));
    expect(seen[0]).not.toHaveProperty('label');

    const kept = load(dataset, { dropLast: false });
    expect(kept.batchesPerEpoch).toBe(4);
    const all = await take(kept.batches(), 5);
    expect(all.map(({ index }) => index.length)).toEqual([3, 3, 3, 1, 3]);
    expect(all.slice(0, 3).flatMap(({ index }) => index)).toEqual(epochs[0]);
    const whole = all.slice(0, 4).flatMap(({ index }) => index);
    expect(whole.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

    const [other] = await take(load(dataset, { seed: 24 }).batches(), 1);
    expect(other.index).not.toEqual(seen[0].index);
    const plain = await take(load(dataset, { shuffle: false }).batches({ from: 2 }), 2);
    expect(plain.map(({ index }) => index)).toEqual([
      [6, 7, 8],
      [0, 1, 2],
    ]);
  });

  test('epoch() goes once through all, with labels, in the order of the data set', async () => {
    const labels = Array.from({ length: 7 }, (_, i) => 10 * i);
    const seen = await take(load(memory(7, labels)).epoch());
    expect(seen.map(({ index }) => index)).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
    expect(seen.map(({ label }) => label)).toEqual([[0, 10, 20], [30, 40, 50], [60]]);
    expect(seen[2].shape).toEqual([1, 4, 4, 3]);
  });

  test('a byte p is p / 127.5 - 1, rounded once', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const images = new MemoryImages(bytes, { width: 16, height: 16, channels: 1 });
    const loader = load(images, { batchSize: 1, transform: { size: 16, channels: 1 } });
    const [{ values, shape }] = await take(loader.batches(), 1);
    expect(shape).toEqual([1, 16, 16, 1]);
    expect(values).toEqual([...bytes].map((p) => Math.fround(p / 127.5 - 1)));
  });
});

describe('the same batches', () => {
  const transform = {
    size: 6,
    cropFraction: [0.5, 1],
    filter: 'area',
    randomCrop: true,
    flip: 0.5,
  } as const;

  test.each([0, 1, 3])('from the start and resumed, with %i workers', async (workers) => {
    const reference = await take(load(folder, { transform }).batches(), 9);
    const running = await take(load(folder, { transform, workers }).batches(), 9);
    expect(running).toEqual(reference);
    for (const from of [1, 5, 8]) {
      const prefetch = from % 3;
      const fresh = load(folder, { transform, workers, prefetch });
      expect(await take(fresh.batches({ from }), 9 - from)).toEqual(reference.slice(from));
    }
  });

  test('a picture is cut differently in each epoch, the same in each run', async () => {
    const of = async (from: number) => {
      const loader = load(folder, { transform, batchSize: 11 });
      const [{ index, values }] = await take(loader.batches({ from }), 1);
      const at = index.indexOf(4) * 6 * 6 * 3;
      return values.slice(at, at + 6 * 6 * 3);
    };
    expect(await of(0)).toEqual(await of(0));
    expect(await of(0)).not.toEqual(await of(1));
  });

  test('files that need no change', async () => {
    for (let n = 0; n < 4; ++n)
      await writePicture(inFolder(`ready/${n}.png`), n, { width: 4, height: 4 });
    const ready = await ImageFolder.open(inFolder('ready'));
    const expected = await take(load(memory(4), { shuffle: false }).batches(), 1);
    for (const workers of [0, 1]) {
      const [{ values }] = await take(load(ready, { workers, shuffle: false }).batches(), 1);
      expect(values).toEqual(expected[0].values);
    }
  });

  test('one loader serves several iterations at once', async () => {
    const loader = load(folder, { transform });
    const alone = await take(loader.batches(), 4);
    const [a, b] = await Promise.all([take(loader.batches(), 4), take(loader.epoch(), 4)]);
    expect(a).toEqual(alone);
    expect(b.map(({ index }) => index[0])).toEqual([0, 3, 6, 9]);
  });
});

describe('ahead of the consumer', () => {
  test('a bounded number of batches is made, and waits are counted', async () => {
    const dataset = gated(12);
    const loader = load(dataset, { batchSize: 2, prefetch: 1 });
    const batches = loader.batches();
    const next = async () => {
      const { value } = await batches.next();
      (value as { image: Tensor }).image.dispose();
    };
    const first = next();
    await dataset.open();
    await first;
    expect(dataset.asked).toBe(4); // one batch in use, one ahead
    expect([loader.waits, loader.waitMs]).toEqual([0, 0]); // nobody can have the first one ready
    await dataset.open();
    expect(dataset.asked).toBe(4);
    await next();
    expect(loader.waits).toBe(0);
    expect(dataset.asked).toBe(6);
    const third = next();
    await turn();
    await dataset.open();
    await third;
    expect(loader.waits).toBe(1);
    expect(loader.waitMs).toBeGreaterThan(0);
    await batches.return();
  });

  test('batches belong to the scope of whoever asks for them', async () => {
    const loader = load(memory(6));
    const inside = await tidy(async () => {
      const images: Tensor[] = [];
      for await (const { image } of loader.epoch()) images.push(image);
      return { images: () => images };
    });
    expect(inside.images().map((image) => image.disposed)).toEqual([true, true]);
  });
});

describe('the end', () => {
  test('aborting rejects at once with the reason, whatever the pictures do', async () => {
    const loader = load(gated(12));
    const stop = new AbortController();
    const waiting = take(loader.batches({ signal: stop.signal }), 1);
    await turn();
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(take(loader.epoch({ signal: stop.signal }))).rejects.toThrow('enough');
    // between two batches
    const later = new AbortController();
    const batches = load(memory(9)).batches({ signal: later.signal });
    (await batches.next()).value!.image.dispose();
    later.abort();
    await expect(batches.next()).rejects.toThrow(/abort/);
    expect(await batches.next()).toEqual({ done: true, value: undefined });
  });

  test('an aborted or left iteration frees its workers for the next', async () => {
    const loader = load(folder, { workers: 1, prefetch: 3 });
    const stop = new AbortController();
    const stopped = take(loader.batches({ signal: stop.signal }));
    stop.abort();
    await expect(stopped).rejects.toThrow(/abort/);
    await take(loader.batches(), 1);
    expect((await take(loader.epoch())).length).toBe(4);
  });

  test('dispose ends what is under way', async () => {
    for (const workers of [0, 2]) {
      const loader = load(folder, { workers });
      const running = take(loader.batches());
      await turn();
      const ended = expect(running).rejects.toThrow(DisposedError);
      await loader.dispose();
      await ended;
      await expect(take(loader.batches(), 1)).rejects.toThrow(DisposedError);
      await loader.dispose();
    }
  });

  test('dispose wakes who waits for pictures that never come, and drops what is ready', async () => {
    const loader = load(gated(12));
    const waiting = expect(take(loader.batches(), 1)).rejects.toThrow(DisposedError);
    await turn();
    await loader.dispose();
    await waiting;
    const ready = load(memory(12));
    const batches = ready.batches();
    (await batches.next()).value!.image.dispose();
    await turn();
    await ready.dispose();
    await expect(batches.next()).rejects.toThrow(DisposedError);
  });

  test.each([
    [
      'disposed or not',
      `for await (const _ of forgotten.batches()) break;
      for await (const _ of disposed.batches()) break;
      await disposed.dispose();`,
    ],
    [
      'disposed while answers wait',
      `const batches = disposed.batches();
      await batches.next();
      for (const begin = performance.now(); performance.now() < begin + 500; );
      await disposed.dispose();`,
    ],
  ])('the process ends by itself, but not before its end: %s', async (_name, body) => {
    const program = `
      import { DataLoader, ImageFolder } from ${JSON.stringify(join(process.cwd(), 'lib/index.ts'))};
      const folder = await ImageFolder.open(${JSON.stringify(inFolder('pictures'))});
      const options = { batchSize: 3, workers: 2, transform: { size: 4 } };
      const [forgotten, disposed] = [0, 1].map(() => new DataLoader(folder, options));
      ${body}
      console.log('done');`;
    writeFileSync(inFolder('program.ts'), program);
    const args = ['--import', './scripts/typescript.mjs', inFolder('program.ts')];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
      timeout: 50_000,
    });
    expect([stdout, stderr]).toEqual(['done\n', '']);
  });
});

test.each<[string, Partial<DataLoaderOptions>]>([
  ['batchSize', { batchSize: 0 }],
  ['do not fill a batch of 6', { batchSize: 6 }],
  ['workers', { workers: -1 }],
  ['prefetch', { prefetch: 1.5 }],
  ['seed', { seed: 0.5 }],
  ['maxDamaged', { maxDamaged: 2 }],
  ['size', { transform: { size: -1 } }],
])('an impossible option is named: %s', (name, options) => {
  expect(() => load(memory(5), options)).toThrow(ArgumentError);
  expect(() => load(memory(5), options)).toThrow(name);
});

test.each([0, 1])('pixels of other channels are refused, with %i workers', async (workers) => {
  const grey = load(memory(5), { workers, transform: { size: 4, channels: 1 } });
  const refusal: unknown = await take(grey.batches(), 1).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(ArgumentError);
  expect(refusal).toMatchObject({
    message: expect.stringMatching(/expected 4 x 4 x 1 bytes.*48 bytes of 3/) as string,
    code: 'ERR_INVALID_ARGUMENT',
  });
});

test('a worker gets the bytes of its picture, not those of all pictures in memory', async () => {
  const posted = vi.spyOn(Worker.prototype, 'postMessage');
  await take(load(memory(6), { workers: 1 }).batches(), 1);
  const jobs = posted.mock.calls.map(([message]) => (message as { job: Job }).job);
  posted.mockRestore();
  expect(jobs.length).toBeGreaterThan(0);
  for (const { source } of jobs)
    expect('pixels' in source && source.pixels.data.buffer.byteLength).toBe(4 * 4 * 3);
});

test('an empty data set and an impossible start are refused', async () => {
  expect(() => load({ length: 0, item: () => ({}) as never })).toThrow(ArgumentError);
  await expect(take(load(memory(5)).batches({ from: -1 }), 1)).rejects.toThrow(ArgumentError);
});
