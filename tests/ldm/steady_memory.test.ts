// Sampling and training take no memory of the system once their first steps are done.
import { describe, expect, test } from 'vitest';
import {
  buildFirstStage,
  cacheLatents,
  defaultDevice,
  firstStageTask,
  LatentCache,
  latentDiffusionTask,
  LPIPSWithDiscriminator,
  noise,
  tidy,
  TrainingCycle,
  type AutoencoderKL,
  type CachedBatch,
  type EmaOptions,
  type ImageBatch,
  type MemoryStats,
  type TrainingCycleOptions,
  type TrainingTask,
} from '../../lib/index.js';
import type { DataSource } from '../../lib/data/source.js';
import { temporaryFolder } from '../io/temporary.js';
import { int64, samplingMethods, shaken, stepping, tinySpec, withModel } from './tiny_diffusion.js';

const device = defaultDevice();
const inFolder = temporaryFolder();
/** What the engine holds of the system's memory, live or kept for reuse. */
const held = ({ liveBytes, cachedBytes, graphBytes }: MemoryStats) =>
  liveBytes + cachedBytes + graphBytes;

describe('sampling', () => {
  test.each(samplingMethods)(
    '%s with guidance lives on what its first two steps took',
    async (method) => {
      // ancestral sampling walks all timesteps
      const diffusion = method === 'ddpm' ? { timesteps: 12 } : {};
      await withModel(tinySpec({ diffusion }), async (model) => {
        device.emptyCache();
        const seen: MemoryStats[] = [];
        const { latents } = await model.sample({
          ...stepping(method, 12),
          seed: [1, 2, 3],
          guidance: 3,
          condition: int64(0, 1, 2),
          decode: false,
          onStep: () => void seen.push(device.memoryStats()),
        });
        latents.dispose();
        expect(seen.length).toBeGreaterThanOrEqual(12);
        // The first correction of UniPC that knows two earlier estimates comes in its third step.
        const [settled, ...later] = seen.slice(method === 'unipc' ? 2 : 1);
        expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
      });
    },
  );
});

/** What the engine holds behind each of the cycles of a task. */
async function cycles<Batch>(
  task: TrainingTask<Batch>,
  batchOf: (number: number) => Batch | Promise<Batch>,
  options: Partial<TrainingCycleOptions> = {},
): Promise<MemoryStats[]> {
  const whole = { accumulate: 1, precision: 'float32', clipNorm: 1, seed: 1, ...options } as const;
  const cycle = new TrainingCycle(task, whole);
  device.emptyCache();
  const seen: MemoryStats[] = [];
  for (let step = 0; step < 8; step++) {
    await tidy(async () => {
      const batches: Batch[] = [];
      for (let i = 0; i < whole.accumulate; ++i)
        batches.push(await batchOf(step * whole.accumulate + i));
      await cycle.run(batches, step);
    });
    seen.push(device.memoryStats());
  }
  cycle.dispose();
  return seen;
}

const pictures = (step: number): ImageBatch => {
  const image = noise([2, 16, 16, 3], { seed: 4, step });
  return { image, index: [0, 1], path: ['a', 'b'], label: [0, 1] };
};

// The state that optimizers make in the first cycle is there beside all gradients in the second only, and what
// its recording took of the free blocks is missed in the third.
const expectSteady = (seen: readonly MemoryStats[]): void => {
  const [settled, ...later] = seen.slice(2);
  expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
};

describe('training', () => {
  test.each<[string, Partial<TrainingCycleOptions>, EmaOptions | null]>([
    ['', {}, {}],
    [' without a moving average', {}, null],
    [' with accumulated batches', { accumulate: 3 }, {}],
    [' in bfloat16', { precision: 'bfloat16' }, {}],
    [' in float16 with accumulated batches', { precision: 'float16', accumulate: 2 }, {}],
  ])('a diffusion model%s lives on what its first three cycles took', async (_, options, ema) => {
    const model = await shaken(tinySpec());
    const task = latentDiffusionTask<ImageBatch>({
      ...{ model, learningRate: 1e-3, unconditionalProbability: 0.2, ema },
    });
    expectSteady(await cycles(task, pictures, options));
    model.dispose();
  });

  test('so does one on cached latents', async () => {
    const model = await shaken(tinySpec());
    const path = inFolder('latents');
    await cacheLatents(model.first_stage_model, onePass, path, { shardSize: 4 });
    const cache = await LatentCache.open(path, { batchSize: 2 });
    const task = latentDiffusionTask<CachedBatch>({
      ...{ model, learningRate: 1e-3 },
      read: (batch) => ({ encoded: cache.encoded(batch), condition: int64(...batch.label!) }),
    });
    const batches = cache.batches();
    let taken: CachedBatch | undefined;
    const seen = await cycles(task, async () => {
      // as the trainer does behind each step
      taken?.moments.dispose();
      taken = (await batches.next()).value as CachedBatch;
      return taken;
    });
    expectSteady(seen);
    await batches.return(undefined);
    model.dispose();
  });

  test('and so does a first stage, from where its discriminator joins', async () => {
    const { firstStage } = tinySpec();
    const model = buildFirstStage(firstStage) as AutoencoderKL;
    const loss = new LPIPSWithDiscriminator({
      ...{ discStart: 1, discNdf: 4, discNumLayers: 2, perceptualWeight: 0, klWeight: 1e-6 },
    });
    const seen = await cycles(firstStageTask({ model, loss, learningRate: 1e-3 }), pictures);
    expectSteady(seen.slice(1));
    model.dispose();
    loss.dispose();
  });
});

/** Three batches, to be gone through once. */
const onePass: DataSource<ImageBatch> = {
  batchesPerEpoch: 3,
  batches: () => {
    throw new Error('latents are cached in one pass');
  },
  async *epoch() {
    for (let step = 0; step < 3; ++step) yield pictures(step);
  },
};
