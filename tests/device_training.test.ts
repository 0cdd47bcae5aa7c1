// A small U-Net learns the same on every device: the same losses, step by step, as on the CPU.
import { expect, test } from 'vitest';
import {
  AdamW,
  clipGradNorm,
  defaultDevice,
  device,
  full,
  mseLoss,
  noise,
  setDefaultDevice,
  tidy,
  type Device,
  type Tensor,
} from '../lib/index.js';
import { UNetModel } from '../lib/ldm/index.js';
import { availableDevices } from './support/devices.js';

const config = {
  inChannels: 2,
  outChannels: 2,
  modelChannels: 16,
  normGroups: 8,
  numResBlocks: 1,
  attentionResolutions: [2],
  channelMult: [1, 2],
  numHeadChannels: 8,
};
const steps = 4;

type Weights = ReadonlyMap<string, Tensor>;

async function losses(
  on: Device,
  weights?: Weights,
): Promise<{ weights: Weights; losses: number[] }> {
  const before = defaultDevice();
  setDefaultDevice(on);
  try {
    const model = new UNetModel(config);
    if (weights) model.loadStateDict(weights);
    const start: Weights = new Map(
      [...model.stateDict()].map(([key, value]) => [key, value.to('cpu').add(0)]),
    );
    const optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
    const found: number[] = [];
    for (let step = 0; step < steps; step++)
      found.push(
        await tidy(async () => {
          const x = noise([2, 6, 6, 2], { seed: 1, device: on });
          const target = noise([2, 6, 6, 2], { seed: 2, device: on });
          const t = full([2], 100 * (step + 1), { dtype: 'int32' });
          const loss = mseLoss(model.forward(x, t), target);
          optimizer.zeroGrad();
          loss.backward();
          clipGradNorm(model.parameters(), 1);
          optimizer.step();
          return loss.item();
        }),
      );
    return { weights: start, losses: found };
  } finally {
    setDefaultDevice(before);
  }
}

const others = availableDevices.filter(({ name }) => name !== 'cpu');
for (const other of others)
  test(`a U-Net's training on ${other} follows the CPU's`, async () => {
    const onCpu = await losses(device('cpu'));
    const there = await losses(other, onCpu.weights);
    expect(onCpu.losses[steps - 1]).toBeLessThan(onCpu.losses[0]);
    there.losses.forEach((loss, i) => {
      expect(Math.abs(loss - onCpu.losses[i]) / onCpu.losses[i], `step ${i}`).toBeLessThan(1e-3);
    });
  });
if (others.length === 0)
  test.skip('no device beside the CPU: training is compared on none', () => {});
