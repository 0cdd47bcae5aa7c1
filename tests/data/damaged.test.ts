// What the loader does about pictures that cannot be used.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  dataModuleTargets,
  FileError,
  ImageList,
  parseYaml,
  type Dataset,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { loaders, memory, take, writePicture } from './pictures.js';

const inFolder = temporaryFolder();
const load = loaders();

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
    'pipe.png': (path) => void execFileSync('mkfifo', [path]),
    'bomb.png': async (path) => {
      await writePicture(path, 1);
      const bytes = readFileSync(path);
      bytes.writeUInt32BE(50_000, 16);
      bytes.writeUInt32BE(50_000, 20);
      writeFileSync(path, bytes);
    },
  };
  // Root reads everything.
  if (process.getuid?.() !== 0)
    kinds['forbidden.png'] = async (path) => {
      await writePicture(path, 1);
      chmodSync(path, 0);
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
        await expect(ended).rejects.toThrow(
          /\. Remove or replace it, or give the loader onDamaged: 'skip'\.$/,
        );
        expect(seen).toEqual([
          [0, 1, 2],
          [3, 4, 5],
        ]);
      }
    },
  );

  test('end a training with what its configuration can do about them', async () => {
    const params = `{data_root: ${inFolder('damaged')}, list: ${inFolder('damaged.txt')}, size: 4}`;
    const set = `{target: emulsion.data.ImageList, params: ${params}}`;
    const text = `{target: emulsion.DataModule, params: {batch_size: 2, num_workers: 0, train: ${set}}}`;
    const { train } = await dataModuleTargets
      .read(parseYaml(text, 'a.yaml'), 'data')
      .build({ seed: 1 });
    await expect(take(train!.epoch())).rejects.toThrow(
      /\. Remove or replace it, or set data\.params\.skip_damaged=true\.$/,
    );
    await train!.dispose();
  });

  test('are replaced by the same ones in every run, and named once', async () => {
    const told: string[] = [];
    const skip = { onDamaged: 'skip', maxDamaged: 0.6, prefetch: 1 } as const;
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
