// Samplers on a denoiser that is known exactly: for data that is a single point, ε = (x - √ᾱ x0) / √(1-ᾱ).
import { describe, expect, it } from 'vitest';
import {
  ddim,
  defaultDevice,
  full,
  GaussianDiffusion,
  guided,
  keep,
  noise,
  plms,
  sampleDdim,
  tensor,
  type Denoiser,
  type Tensor,
} from '../../lib/index.js';
import { collectGarbage } from '../support/collect_garbage.js';

const diffusion = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const { schedule } = diffusion;
const shape = [2, 4, 4, 3];
const point = 0.5;

const exact: Denoiser = (x, t) => diffusion.predictEpsFromXstart(x, t, full(x.shape, point));

function worstDistance(x: Tensor, value: number): number {
  const data = x.dataSync() as Float32Array;
  return Math.max(...data.map((each) => Math.abs(each - value)));
}

describe('samplers', () => {
  it.each([0, 1])('DDIM with eta %d finds the point', async (eta) => {
    const latent = await sampleDdim(exact, schedule, { steps: 20, eta, shape, seed: 1 });
    // the last step ends at ᾱ_0, with that much noise left
    expect(worstDistance(latent, point)).toBeLessThan(0.25);
    expect(latent.shape).toEqual(shape);
  });

  it.each(['eps', 'x0', 'v'] as const)('ends at the same point with %s', async (kind) => {
    const x0 = full(shape, point);
    const process = new GaussianDiffusion({
      linearStart: 0.0015,
      linearEnd: 0.0195,
      parameterization: kind,
    });
    const denoise: Denoiser = (x, t) => {
      const eps = exact(x, t);
      return { eps, x0, v: process.velocity(x0, t, eps) }[kind];
    };
    const initial = noise(shape, { seed: 5 });
    const options = { steps: 10, initial };
    const plain = await sampleDdim(exact, schedule, options);
    const latent = await sampleDdim(denoise, schedule, { ...options, parameterization: kind });
    expect(worstDistance(latent.sub(plain), 0)).toBeLessThan(1e-4);

    for await (const { latent, predX0 } of plms(denoise, schedule, {
      ...options,
      parameterization: kind,
    })) {
      expect(worstDistance(predX0, point)).toBeLessThan(1e-3);
      expect(latent.shape).toEqual(shape);
    }
    const t = tensor(Int32Array.of(3, 700));
    const xt = process.qSample(x0, t, initial);
    expect(worstDistance(process.predictStart(xt, t, denoise(xt, t)), point)).toBeLessThan(1e-3);
    const fromV = process.predictEpsFromV(xt, t, process.velocity(x0, t, initial));
    expect(worstDistance(fromV.sub(initial), 0)).toBeLessThan(1e-4);
    // an exact denoiser has no loss, and one that is off by one everywhere has a loss of one
    const loss = (error: number) =>
      process.loss((x, times) => denoise(x, times).add(error), x0, t, initial).loss.item();
    expect(await loss(0)).toBeLessThan(1e-6);
    expect(await loss(1)).toBeCloseTo(1, 3);
  });

  it('yields steps from noisy to clean, and the estimate on the way', async () => {
    const seen: number[] = [];
    for await (const { step, steps, timestep, predX0 } of ddim(exact, schedule, {
      steps: 5,
      shape,
      seed: 1,
    })) {
      expect([step, steps]).toEqual([seen.length, 5]);
      expect(worstDistance(predX0, point)).toBeLessThan(1e-3);
      seen.push(timestep);
    }
    expect(seen).toEqual([801, 601, 401, 201, 1]);
  });

  it('keeps the masked part', async () => {
    const known = full(shape, -1);
    const columns = Float32Array.from({ length: 2 * 16 }, (_, i) => (i % 4 < 2 ? 1 : 0));
    const mask = { keep: tensor(columns, { shape: [2, 4, 4, 1] }), known };
    const estimates: number[][] = [];
    for await (const { predX0 } of ddim((x) => x.mul(0), schedule, {
      steps: 10,
      shape,
      seed: 3,
      mask,
    })) {
      estimates.push(Array.from((predX0.dataSync() as Float32Array).slice(0, 12)));
    }
    // with ε = 0 the estimate is x/√ᾱ, which is near the known value only where it was blended in
    expect(Math.abs(estimates.at(-1)![0] + 1)).toBeLessThan(0.2);
  });

  it('stops on abort, before the next step', async () => {
    const controller = new AbortController();
    const run = async () => {
      let count = 0;
      for await (const { step } of ddim(exact, schedule, {
        steps: 10,
        shape,
        seed: 1,
        signal: controller.signal,
      })) {
        count++;
        if (step === 2) controller.abort(new Error('enough'));
      }
      return count;
    };
    await expect(run()).rejects.toThrow('enough');
  });

  it('lets timers run between steps', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    await sampleDdim(exact, schedule, { steps: 50, shape, seed: 1 });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
  });

  it('PLMS finds the point with an extra call in its first step', async () => {
    let calls = 0;
    const counted: Denoiser = (x, t) => (calls++, exact(x, t));
    let last: Tensor | undefined;
    for await (const { latent } of plms(counted, schedule, { steps: 10, shape, seed: 1 }))
      last = latent;
    expect(worstDistance(last!, point)).toBeLessThan(0.25);
    expect(calls).toBe(11);
  });

  it('asks for a seed when it needs one', async () => {
    await expect(sampleDdim(exact, schedule, { steps: 2, shape })).rejects.toThrow(/give a seed/);
    await expect(sampleDdim(exact, schedule, { steps: 2, seed: 1 })).rejects.toThrow(/shape/);
  });

  it('frees every tensor of a run but the latent', async () => {
    await collectGarbage();
    const before = defaultDevice().memoryStats().liveBytes;
    const latent = await sampleDdim(exact, schedule, { steps: 5, eta: 1, shape, seed: 1 });
    latent.dispose();
    expect(latent.device.memoryStats().liveBytes).toBe(before);
  });
});

describe('guided', () => {
  const model = (x: Tensor, _t: Tensor, { context }: { context: Tensor }) =>
    x.mul(0).add(context.reshape([x.shape[0], 1, 1, 1]));
  const x = keep(noise(shape, { seed: 1 }));
  const t = keep(tensor([5, 5], { dtype: 'int64' }));
  const [conditional, unconditional] = [{ context: full([2, 1], 3) }, { context: full([2, 1], 1) }];

  it('moves away from the unconditional prediction', () => {
    const output = guided(model, conditional, unconditional, 4)(x, t);
    expect(output.shape).toEqual(shape);
    expect(worstDistance(output, 1 + 4 * (3 - 1))).toBeLessThan(1e-6);
  });

  it('calls once, on the plain batch, with scale 1', () => {
    const batches: number[] = [];
    const spy: typeof model = (x_, t_, c) => (batches.push(x_.shape[0]), model(x_, t_, c));
    guided(spy, conditional, unconditional, 1)(x, t);
    guided(spy, conditional, unconditional, 2)(x, t);
    expect(batches).toEqual([2, 4]);
  });
});
