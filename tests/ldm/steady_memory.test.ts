// Sampling and training take no memory of the system once their first steps are done.
import { describe, expect, test } from 'vitest';
import {
  buildFirstStage,
  TrainingCycle,
  defaultDevice,
  firstStageTask,
  latentDiffusionTask,
  LPIPSWithDiscriminator,
  noise,
  tidy,
  type AutoencoderKL,
  type ImageBatch,
  type MemoryStats,
  type TrainingTask,
} from '../../lib/index.js';
import { int64, samplingMethods, shaken, stepping, tinySpec, withModel } from './tiny_diffusion.js';

const device = defaultDevice();
/** What the engine holds of the system's memory, live or kept for reuse. */
const held = ({ liveBytes, cachedBytes, graphBytes }: MemoryStats) =>
  liveBytes + cachedBytes + graphBytes;

describe('sampling', () => {
  test.each(samplingMethods)(
    '%s with guidance lives on what its first steps took',
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
        // Solvers of a higher order remember up to three earlier steps.
        const [settled, ...later] = seen.slice(4);
        expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
      });
    },
  );
});

/** What the engine holds behind each of the cycles of a task. */
async function cycles(task: TrainingTask<ImageBatch>): Promise<MemoryStats[]> {
  const cycle = new TrainingCycle(task, {
    accumulate: 1,
    precision: 'float32',
    clipNorm: 1,
    seed: 1,
  });
  device.emptyCache();
  const seen: MemoryStats[] = [];
  for (let step = 0; step < 8; step++) {
    await tidy(async () => {
      const image = noise([2, 16, 16, 3], { seed: 4, step });
      await cycle.run([{ image, index: [0, 1], path: ['a', 'b'], label: [0, 1] }], step);
    });
    seen.push(device.memoryStats());
  }
  cycle.dispose();
  return seen;
}

describe('training', () => {
  test('a diffusion model lives on what its first two cycles took', async () => {
    const model = await shaken(tinySpec());
    const options = { model, learningRate: 1e-3, unconditionalProbability: 0.2 };
    const [settled, ...later] = (await cycles(latentDiffusionTask<ImageBatch>(options))).slice(2);
    expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
    model.dispose();
  });

  test('and so does a first stage with its discriminator', async () => {
    const { firstStage } = tinySpec();
    const model = buildFirstStage(firstStage) as AutoencoderKL;
    const loss = new LPIPSWithDiscriminator({
      ...{ discStart: 1, discNdf: 4, discNumLayers: 2, perceptualWeight: 0, klWeight: 1e-6 },
    });
    const [settled, ...later] = (
      await cycles(firstStageTask({ model, loss, learningRate: 1e-3 }))
    ).slice(2);
    expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
    model.dispose();
    loss.dispose();
  });
});
