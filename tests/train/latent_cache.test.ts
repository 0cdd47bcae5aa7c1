// Latents that are encoded once: the losses of the pictures themselves, in any order, and a training that goes on.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  buildFirstStage,
  buildLatentDiffusion,
  cacheLatents,
  LatentCache,
  latentDiffusionTask,
  manualSeed,
  noGrad,
  openRunFolder,
  tensor,
  tidy,
  Trainer,
  type CachedBatch,
  type LatentDiffusion,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinySpec } from '../ldm/tiny_diffusion.js';
import { makeModel, Pictures } from './noise_pictures.js';
import { newest } from './run.js';

const inFolder = temporaryFolder();
let folders = 0;
const folder = (): string => inFolder(String(folders++));
const classes = (label: readonly number[]) => tensor(BigInt64Array.from(label, BigInt));

describe('cached latents', () => {
  const values = async (batch: CachedBatch) => [...((await batch.moments.data()) as Float32Array)];

  async function cached(options: Parameters<typeof cacheLatents>[3] = {}) {
    const path = folder();
    const model = makeModel();
    const progress: number[] = [];
    await cacheLatents(model.first_stage_model, new Pictures(), path, {
      shardSize: 4,
      onProgress: (images) => progress.push(images),
      ...options,
    });
    return { path, model, progress };
  }

  it('give the losses of the pictures themselves, bit for bit', async () => {
    const { path, model, progress } = await cached();
    expect(progress).toEqual([2, 4, 6]);
    const cache = await LatentCache.open(path, { batchSize: 2, shuffle: false });
    expect([cache.length, cache.batchesPerEpoch]).toEqual([6, 3]);
    const fromCache = latentDiffusionTask<CachedBatch>({
      model,
      learningRate: 1e-2,
      read: (batch) => ({ encoded: cache.encoded(batch), condition: classes(batch.label!) }),
    });
    const task = latentDiffusionTask({ model, learningRate: 1e-2 });
    const pictures = new Pictures().batches();
    const latents = cache.batches();
    for (let step = 0; step < 3; ++step) {
      const context = { step, micro: 0, accumulate: 1, seed: 3 };
      const picture = (await pictures.next()).value!;
      const latent = (await latents.next()).value!;
      expect(latent.index).toEqual(picture.index);
      await tidy(async () => {
        const [expected, actual] = noGrad(() => [
          task.phases[0].loss(picture, context).loss,
          fromCache.phases[0].loss(latent, context).loss,
        ]);
        expect(await actual.item()).toBe(await expected.item());
      });
    }
  });

  it('are the pictures themselves where diffusion works on pixels', async () => {
    const path = folder();
    const stage = buildFirstStage({ kind: 'identity' });
    await cacheLatents(stage, new Pictures(), path);
    const cache = await LatentCache.open(path, { batchSize: 2, shuffle: false });
    const { image } = (await new Pictures().batches().next()).value!;
    const cachedBatch = (await cache.batches().next()).value!;
    expect(cache.encoded(cachedBatch)).toBe(cachedBatch.moments);
    expect(await values(cachedBatch)).toEqual([...((await image.data()) as Float32Array)]);
  });

  it('come in an order of the seed, from any batch on', async () => {
    const { path } = await cached();
    const options = { batchSize: 2, seed: 4 };
    const take = async (from: number, count: number) => {
      const cache = await LatentCache.open(path, options);
      const found: { index: number[]; values: number[] }[] = [];
      for await (const batch of cache.batches({ from })) {
        found.push({ index: batch.index, values: await values(batch) });
        batch.moments.dispose();
        if (found.length === count) break;
      }
      return found;
    };
    const all = await take(0, 6);
    expect(await take(2, 4)).toEqual(all.slice(2));
    for (const epoch of [all.slice(0, 3), all.slice(3)])
      expect(epoch.flatMap(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(all.slice(3).map(({ index }) => index)).not.toEqual(all.slice(0, 3).map((b) => b.index));
  });

  it('go through once in order, the last batch short', async () => {
    const { path } = await cached({ dtype: 'float16' });
    const exact = await LatentCache.open((await cached()).path, { batchSize: 4 });
    const half = await LatentCache.open(path, { batchSize: 4 });
    const sizes: number[] = [];
    const expected = exact.epoch();
    for await (const batch of half.epoch()) {
      sizes.push(batch.moments.shape[0]);
      expect(batch.label).toEqual(batch.index.map((i) => i % 4));
      const wanted = await values((await expected.next()).value!);
      (await values(batch)).forEach((value, i) => expect(value).toBeCloseTo(wanted[i], 2));
    }
    expect(sizes).toEqual([4, 2]);
  });

  it('are gone on with as if nothing had happened', async () => {
    const { path } = await cached();
    const training = async (run: string, model: LatentDiffusion, steps: number, resume = false) => {
      // opened by each process anew
      const cache = await LatentCache.open(path, { batchSize: 2, seed: 4 });
      const task = latentDiffusionTask<CachedBatch>({
        ...{ model, learningRate: 1e-2, unconditionalProbability: 0.3, offsetNoise: 0.1 },
        read: (batch) => ({ encoded: cache.encoded(batch), condition: classes(batch.label!) }),
      });
      const options = {
        steps,
        resume,
        accumulate: 2,
        folder: await openRunFolder(run, { resume }),
      };
      await new Trainer(task, cache, options).run();
      model.dispose();
    };
    const [whole, parts] = [folder(), folder()];
    // five steps of two batches: epochs of three end within them
    await training(whole, makeModel(), 5);
    await training(parts, makeModel(), 2);
    // weights before the state is loaded do not matter
    manualSeed(9);
    await training(parts, buildLatentDiffusion(tinySpec({ scaleByStd: true })), 5, true);
    expect(newest(parts).equals(newest(whole))).toBe(true);
  });

  it('that were complete are not while others take their places', async () => {
    const { path, model } = await cached();
    const stop = new AbortController();
    const onProgress = (images: number) => images === 4 && stop.abort();
    const again = cacheLatents(model.first_stage_model, new Pictures(), path, {
      ...{ shardSize: 2, signal: stop.signal, onProgress },
    });
    await expect(again).rejects.toThrow(/abort/i);
    await expect(LatentCache.open(path, { batchSize: 2 })).rejects.toThrow(/index.json: cannot be/);
  });

  it('that are incomplete or damaged are refused by name', async () => {
    const open = (path: string) => LatentCache.open(path, { batchSize: 2 });
    await expect(open(folder())).rejects.toThrow(/index.json: cannot be read/);
    const { path } = await cached();
    const index = join(path, 'index.json');
    const good = readFileSync(index, 'utf8');
    writeFileSync(index, good.replace('"count": 6', '"count": 1e99'));
    await expect(open(path)).rejects.toThrow('describes no cached latents');
    writeFileSync(index, '{');
    await expect(open(path)).rejects.toThrow('not a valid index');
    writeFileSync(index, good.replace('"count": 6', '"count": 60'));
    const longer = await LatentCache.open(path, { batchSize: 60 });
    await expect(longer.epoch().next()).rejects.toThrow(/latents-00000\d.safetensors: /);
    writeFileSync(index, good);
    await expect(LatentCache.open(path, { batchSize: 7 })).rejects.toThrow('dropLast');
  });
});
