// A training loop small enough to run tens of thousands of steps: what leaks, shows.
import { AdamW, linear, mseLoss, randn, silu, tidy, type Tensor } from '../../lib/index.js';
import { collectGarbage } from './collect_garbage.js';

export interface MemorySample {
  step: number;
  residentBytes: number;
  liveBytes: number;
  tensors: number;
  loss: number;
}

/** Trains a two-layer network on a fixed batch and samples memory after equal numbers of steps. */
export async function trainTiny(steps: number, samples: number): Promise<MemorySample[]> {
  const parameter = (...shape: number[]): Tensor => {
    const weight = randn(shape);
    weight.requiresGrad = true;
    return weight;
  };
  const [x, target] = [randn([8, 16]), randn([8, 4])];
  const parameters = [parameter(32, 16), parameter(32), parameter(4, 32), parameter(4)];
  const [weight1, bias1, weight2, bias2] = parameters;
  const optimizer = new AdamW(parameters, { lr: 1e-3 });
  const found: MemorySample[] = [];

  for (let step = 1; step <= steps; step++) {
    const loss = await tidy(async () => {
      const hidden = silu(linear(x, weight1, bias1));
      const error = mseLoss(linear(hidden, weight2, bias2), target);
      optimizer.zeroGrad();
      error.backward();
      optimizer.step();
      return error.item();
    });
    if (step % Math.floor(steps / samples) !== 0) continue;
    await collectGarbage(); // what V8 has not collected yet is no leak
    const { liveBytes, tensors } = x.device.memoryStats();
    found.push({ step, residentBytes: process.memoryUsage.rss(), liveBytes, tensors, loss });
  }
  return found;
}

/** Throws unless memory stays where it was in the second half; in the first, V8 warms up. */
export function checkFlat(samples: readonly MemorySample[]): void {
  const settled = samples[samples.length >> 1];
  const last = samples[samples.length - 1];
  if (last.liveBytes !== settled.liveBytes || last.tensors !== settled.tensors)
    throw new Error(
      `live memory changed between steps ${settled.step} and ${last.step}: ` +
        `${settled.liveBytes} to ${last.liveBytes} bytes, ${settled.tensors} to ${last.tensors} tensors`,
    );
  const median = (from: number, to: number) => {
    const part = samples.slice(from * samples.length, to * samples.length);
    return part.map(({ residentBytes }) => residentBytes).sort((a, b) => a - b)[part.length >> 1];
  };
  const growth = median(0.75, 1) - median(0.5, 0.75);
  if (growth > 6 * 2 ** 20)
    throw new Error(
      `resident memory grew by ${(growth / 2 ** 20).toFixed(1)} MiB from the third to the last quarter`,
    );
}
