// The loader's orders, resumption, damage, back-pressure and end.
import { execFile } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  DataLoader,
  DisposedError,
  FileError,
  ImageFolder,
  ImageList,
  MemoryImages,
  tidy,
  type DataLoaderOptions,
  type Dataset,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { pictureBytes, take, writePicture } from './pictures.js';

const inFolder = temporaryFolder();
const loaders: DataLoader[] = [];
afterAll(async () => {
  for (const loader of loaders) await loader.dispose();
});

function load(dataset: Dataset, options: Partial<DataLoaderOptions> = {}): DataLoader {
  const loader = new DataLoader(dataset, {
    batchSize: 3,
    transform: { size: 4 },
    workers: 0,
    ...options,
  });
  loaders.push(loader);
  return loader;
}

/** `count` pictures of 4 x 4, in memory. */
function memory(count: number, labels?: number[]): MemoryImages {
  const size = { width: 4, height: 4, channels: 3 } as const;
  const pictures = Array.from({ length: count }, (_, n) => pictureBytes(n, size));
  return new MemoryImages(new Uint8Array(Buffer.concat(pictures)), { ...size, labels });
}

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
  let folder: ImageFolder;
  beforeAll(async () => {
    for (let n = 0; n < 11; ++n)
      await writePicture(inFolder(`resume/${n % 2}/${n}.png`), n, { width: 9 + n, height: 17 - n });
    folder = await ImageFolder.open(inFolder('resume'), { labels: 'folders' });
  });

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

  test('one loader serves several iterations at once', async () => {
    const loader = load(folder, { transform });
    const alone = await take(loader.batches(), 4);
    const [a, b] = await Promise.all([take(loader.batches(), 4), take(loader.epoch(), 4)]);
    expect(a).toEqual(alone);
    expect(b.map(({ index }) => index[0])).toEqual([0, 3, 6, 9]);
  });
});

describe('damaged pictures', () => {
  const kinds: Record<string, (path: string) => void | Promise<void>> = {
    'truncated.jpg': async (path) => {
      await writePicture(path, 1, { width: 64, height: 64 });
      truncateSync(path, readFileSync(path).length >> 1);
    },
    'truncated.png': async (path) => {
      await writePicture(path, 1, { width: 64, height: 64 });
      truncateSync(path, readFileSync(path).length - 30);
    },
    'text.png': (path) => writeFileSync(path, 'this is no picture'),
    'empty.jpg': (path) => writeFileSync(path, ''),
    'folder.png': (path) => void mkdirSync(path),
    'dangling.png': (path) => symlinkSync(inFolder('nowhere'), path),
    'missing.png': () => {},
    'device.png': (path) => symlinkSync('/dev/zero', path),
    'bomb.png': async (path) => {
      await writePicture(path, 1);
      const bytes = readFileSync(path);
      bytes.writeUInt32BE(50_000, 16);
      bytes.writeUInt32BE(50_000, 20);
      writeFileSync(path, bytes);
    },
  };
  const names = Object.keys(kinds);
  const firstDamaged = 4;
  let list: ImageList;
  beforeAll(async () => {
    mkdirSync(inFolder('damaged'));
    const paths: string[] = [];
    for (let n = 0; n < 20; ++n) {
      const name = names[n - firstDamaged] ?? `${n}.png`;
      const path = inFolder(`damaged/${name}`);
      await (name in kinds ? kinds[name](path) : writePicture(path, n));
      paths.push(name);
    }
    writeFileSync(inFolder('damaged.txt'), paths.join('\n'));
    list = await ImageList.open(inFolder('damaged.txt'), inFolder('damaged'));
  });

  test.each([0, 2])(
    'the first ends its batch, no earlier one, with %i workers',
    async (workers) => {
      let damaged = 0;
      const dataset: Dataset = {
        length: 10,
        item: (index) => list.item(index === 7 ? firstDamaged + damaged : 0),
      };
      const loader = load(dataset, { workers, prefetch: 3 });
      for (; damaged < names.length; ++damaged) {
        const seen: number[][] = [];
        const ended = (async () => {
          for await (const { image, index } of loader.epoch()) {
            image.dispose();
            seen.push(index);
          }
        })();
        await expect(ended).rejects.toThrow(FileError);
        await expect(ended).rejects.toThrow(inFolder(`damaged/${names[damaged]}`));
        expect(seen).toEqual([
          [0, 1, 2],
          [3, 4, 5],
        ]);
      }
    },
  );

  test('are replaced by the same ones in every run, and named once', async () => {
    const told: string[] = [];
    const skip = { onDamaged: 'skip', maxDamaged: 0.5, prefetch: 1 } as const;
    const loader = load(list, { ...skip, batchSize: 5, warn: (text) => told.push(text) });
    const seen = await take(loader.batches(), 12);
    expect(loader.damaged.map(({ path }) => path).sort()).toEqual(
      names.map((name) => inFolder(`damaged/${name}`)).sort(),
    );
    expect(told.length).toBe(names.length);
    for (const { path } of loader.damaged)
      expect(told.filter((text) => text.includes(path)).length).toBe(1);
    const bad = new Set(loader.damaged.map(({ index }) => index));
    const stoodIn = seen.flatMap(({ index }) => index);
    expect(stoodIn.filter((index) => bad.has(index))).toEqual([]);
    expect(stoodIn.length).toBe(60);
    // Not always the same one for all.
    const epochs = [0, 4, 8].map((from) =>
      seen.slice(from, from + 4).flatMap((batch) => batch.index),
    );
    const repeated = epochs.map((epoch) => epoch.filter((index, i) => epoch.indexOf(index) !== i));
    expect(repeated.every((extra) => extra.length === names.length)).toBe(true);
    expect(repeated[0]).not.toEqual(repeated[1]);

    for (const [from, workers] of [
      [3, 0],
      [7, 3],
    ]) {
      const resumed = load(list, { ...skip, batchSize: 5, workers, warn: () => {} });
      expect(await take(resumed.batches({ from }), 12 - from)).toEqual(seen.slice(from));
    }
  });

  test('stop the run with their list when they are too many', async () => {
    const loader = load(list, { onDamaged: 'skip', warn: () => {} }); // a tenth of 20
    const run = take(loader.epoch());
    await expect(run).rejects.toThrow(/\d pictures cannot be used, more than the 2 allowed/);
    await expect(run).rejects.toThrow(loader.damaged[0].path);
    const nothing: Dataset = { length: 5, item: () => list.item(6) };
    const all = load(nothing, { onDamaged: 'skip', maxDamaged: 1, warn: () => {} });
    await expect(take(all.epoch())).rejects.toThrow(/5 pictures cannot be used/);
  });

  test('too small to cut a square from', async () => {
    const loader = load(memory(5), { transform: { size: 5, smallestSide: null } });
    await expect(take(loader.batches(), 1)).rejects.toThrow(/picture \d: 4 x 4 pixels are too few/);
  });

  test.each([0, 1])(
    'a fault that is no damage is not skipped, with %i workers',
    async (workers) => {
      const faulty: Dataset = {
        length: 5,
        item: (index) => ({ path: `${index}`, source: {} as never }),
      };
      const loader = load(faulty, { workers, onDamaged: 'skip', warn: () => {} });
      await expect(take(loader.batches(), 1)).rejects.toThrow(TypeError);
    },
  );
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
    const folder = await ImageFolder.open(inFolder('resume'));
    const loader = load(folder, { workers: 1, prefetch: 3 });
    const stop = new AbortController();
    const stopped = take(loader.batches({ signal: stop.signal }));
    stop.abort();
    await expect(stopped).rejects.toThrow(/abort/);
    await take(loader.batches(), 1);
    expect((await take(loader.epoch())).length).toBe(4);
  });

  test('dispose ends what is under way', async () => {
    const folder = await ImageFolder.open(inFolder('resume'));
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

  test('the process ends by itself, disposed or not', async () => {
    const program = `
      import { DataLoader, ImageFolder } from ${JSON.stringify(join(process.cwd(), 'lib/index.ts'))};
      const folder = await ImageFolder.open(${JSON.stringify(inFolder('resume'))});
      const options = { batchSize: 3, workers: 2, transform: { size: 4 } };
      const [forgotten, disposed] = [0, 1].map(() => new DataLoader(folder, options));
      for await (const _ of forgotten.batches()) break;
      for await (const _ of disposed.batches()) break;
      await disposed.dispose();
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

test('an empty data set and an impossible start are refused', async () => {
  expect(() => load({ length: 0, item: () => ({}) as never })).toThrow(ArgumentError);
  await expect(take(load(memory(5)).batches({ from: -1 }), 1)).rejects.toThrow(ArgumentError);
});
