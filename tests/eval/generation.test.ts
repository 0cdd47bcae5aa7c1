// Features of pictures that are made to be measured: a run that was stopped or killed goes on to the same bits.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  FileError,
  generateFeatures,
  PictureExtractor,
  type Generation,
  type SetFeatures,
  type Tensor,
} from '../../lib/index.js';
import { sha256 } from '../../lib/eval/hash.js';
import { temporaryFolder } from '../io/temporary.js';
import { drawing } from './drawings.js';

const inFolder = temporaryFolder();
const total = 150; // of which files of 64, 64 and 22 pictures are made
let extractor: PictureExtractor;
let expected: Awaited<ReturnType<typeof values>>;

const generation = (changed: Partial<Generation> = {}): Generation => ({
  ...{ total, group: 4, plan: { model: 'waves', seed: 0 } },
  make: (pictures) => Promise.resolve(pictures.map((n) => ({ ...drawing(n), channels: 3 }))),
  ...changed,
});

const digest = async (x: Tensor): Promise<string> =>
  sha256(new Uint8Array(((await x.data()) as Float32Array).buffer));
const values = async ({ features, logits, hash }: SetFeatures) => {
  return { features: await digest(features), logits: await digest(logits), hash };
};

const run = async (folder: string, changed?: Partial<Generation>, signal?: AbortSignal) =>
  values(await generateFeatures(inFolder(folder), generation(changed), extractor, { signal }));

beforeAll(async () => {
  extractor = await PictureExtractor.open({ name: 'emoji' });
  expected = await run('whole');
});

afterAll(() => extractor.dispose());

const shards = (folder: string): string[] => readdirSync(join(inFolder(folder), 'features')).sort();

test('every picture is made once; a second call makes none', async () => {
  expect(shards('whole')).toEqual(
    [0, 64, 128].map((n) => `0000${String(n).padStart(4, '0')}.safetensors`),
  );
  const make = () => Promise.reject(new Error('made again'));
  expect(await run('whole', { make })).toEqual(expected);
});

test.each([1, 63, 64, 70, 144])('stopped after %d pictures it goes on', async (stop) => {
  const controller = new AbortController();
  const folder = `stopped-${stop}`;
  let made = 0;
  const make: Generation['make'] = (pictures) => {
    made += pictures.length;
    if (made >= stop) controller.abort();
    return generation().make(pictures);
  };
  await expect(run(folder, { make }, controller.signal)).rejects.toThrow(/abort/);
  expect(shards(folder).length).toBeGreaterThan(0);
  const again: Generation['make'] = (pictures) => {
    made += pictures.length;
    return generation().make(pictures);
  };
  expect(await run(folder, { make: again, group: 5 })).toEqual(expected);
  expect(made).toBe(total);
});

test('a failure keeps what was in files, and leftovers of a write do no harm', async () => {
  const make: Generation['make'] = (pictures) =>
    pictures[0] >= 100 ? Promise.reject(new Error('no memory')) : generation().make(pictures);
  await expect(run('failed', { make })).rejects.toThrow('no memory');
  expect(shards('failed')).toEqual(['00000000.safetensors']);
  writeFileSync(join(inFolder('failed'), 'features/.00000064.safetensors.1.ab.tmp'), 'half');
  expect(await run('failed')).toEqual(expected);
});

describe('a folder belongs to its plan', () => {
  test.each<[string, Partial<Generation>, RegExp]>([
    ['another seed', { plan: { model: 'waves', seed: 1 } }, /begun with another seed:/],
    ['another count', { total: 151 }, /begun with another count:/],
    ['more that decides', { plan: { model: 'waves', seed: 0, eta: 1 } }, /begun with another eta:/],
  ])('%s', async (_, changed, message) => {
    await expect(run('whole', changed)).rejects.toThrow(FileError);
    await expect(run('whole', changed)).rejects.toThrow(message);
  });

  test('and to its network', async () => {
    const other = await PictureExtractor.open({ name: 'emoji', resize: 'tf' });
    await expect(generateFeatures(inFolder('whole'), generation(), other)).rejects.toThrow(
      /another extractor/,
    );
    other.dispose();
  });

  test('files that are damaged or of other shapes are refused', async () => {
    await run('damaged', { total: 10 });
    const path = join(inFolder('damaged'), 'features/00000000.safetensors');
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, 200));
    await expect(run('damaged', { total: 10 })).rejects.toThrow(FileError);
    writeFileSync(
      path,
      Buffer.from(bytes.toString('latin1').replace('logits', 'digits'), 'latin1'),
    );
    await expect(run('damaged', { total: 10 })).rejects.toThrow(/logits is missing/);
    writeFileSync(join(inFolder('damaged'), 'plan.json'), '[]');
    await expect(run('damaged', { total: 10 })).rejects.toThrow(/is no plan/);
  });
});
