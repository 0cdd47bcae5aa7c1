// Sampling and training take no memory of the system once their first steps are done.
import { describe, expect, test } from 'vitest';
import {
  defaultDevice,
  latentDiffusionTask,
  noise,
  tidy,
  type ImageBatch,
  type MemoryStats,
  type SamplingMethod,
} from '../../lib/index.js';
import { Cycle } from '../../lib/train/cycle.js';
import { int64, shaken, tinySpec, withModel } from './tiny_diffusion.js';

const device = defaultDevice();
/** What the engine holds of the system's memory, live or kept for reuse. */
const held = ({ liveBytes, cachedBytes, graphBytes }: MemoryStats) =>
  liveBytes + cachedBytes + graphBytes;

describe('sampling', () => {
  test.each<SamplingMethod>(['ddim', 'plms', 'dpm-solver++', 'unipc', 'euler', 'euler-ancestral'])(
    '%s with guidance lives on what its first steps took',
    async (method) => {
      await withModel(tinySpec(), async (model) => {
        device.emptyCache();
        const seen: MemoryStats[] = [];
        const { latents } = await model.sample({
          method,
          steps: 12,
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

test('training lives on what its first two cycles took', async () => {
  const model = await shaken(tinySpec());
  const task = latentDiffusionTask<ImageBatch>({
    model,
    learningRate: 1e-3,
    unconditionalProbability: 0.2,
  });
  const cycle = new Cycle(task, { accumulate: 1, precision: 'float32', clipNorm: 1, seed: 1 });
  device.emptyCache();
  const seen: MemoryStats[] = [];
  for (let step = 0; step < 8; step++) {
    await tidy(async () => {
      const image = noise([2, 16, 16, 3], { seed: 4, step });
      await cycle.run([{ image, index: [0, 1], path: ['a', 'b'], label: [0, 1] }], step);
    });
    seen.push(device.memoryStats());
  }
  const [settled, ...later] = seen.slice(2);
  expect(Math.max(...later.map(held))).toBeLessThanOrEqual(held(settled));
  cycle.dispose();
  model.dispose();
});
