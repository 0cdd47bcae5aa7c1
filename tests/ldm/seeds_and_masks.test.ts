// What every sampler owes: a picture is a function of its seed alone, and what a mask keeps ends as it was given.
import { describe, expect, it } from 'vitest';
import {
  ddim,
  ddpm,
  dpmSolverPlusPlus,
  euler,
  eulerAncestral,
  full,
  GaussianDiffusion,
  lastLatent,
  noise,
  plms,
  tensor,
  unipc,
  where,
  type Denoiser,
  type SamplerOptions,
  type SamplerRun,
  type Tensor,
} from '../../lib/index.js';

const { schedule } = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const short = new GaussianDiffusion({ timesteps: 5 });
const steps = 5;

const samplers: Record<string, (denoise: Denoiser, options: SamplerOptions) => SamplerRun> = {
  ddim: (denoise, options) => ddim(denoise, schedule, { ...options, steps, eta: 1 }),
  plms: (denoise, options) => plms(denoise, schedule, { ...options, steps }),
  ddpm: (denoise, options) => ddpm(denoise, short, options),
  'dpm-solver++': (denoise, options) => dpmSolverPlusPlus(denoise, schedule, { ...options, steps }),
  unipc: (denoise, options) => unipc(denoise, schedule, { ...options, steps }),
  euler: (denoise, options) => euler(denoise, schedule, { ...options, steps }),
  'euler-ancestral': (denoise, options) => eulerAncestral(denoise, schedule, { ...options, steps }),
};
const names = Object.keys(samplers);

const shape = [3, 4, 4, 2];
const picture = noise(shape, { seed: 1 });
// the left half is kept
const keepLeft = (count: number): Tensor =>
  tensor(
    Float32Array.from({ length: 16 * count }, (_, i) => (i % 4 < 2 ? 1 : 0)),
    { shape: [count, 4, 4, 1] },
  );
const floats = (x: Tensor): Float32Array => x.dataSync() as Float32Array;

describe('a sample is the same alone and in a batch', () => {
  const starts: Record<string, (from: number, count: number) => SamplerOptions> = {
    'out of noise': (_, count) => ({ shape: [count, ...shape.slice(1)] }),
    'from a picture': (from, count) => ({
      image: { latent: picture.narrow(0, from, count), strength: 0.8 },
    }),
    'around a mask': (from, count) => ({
      shape: [count, ...shape.slice(1)],
      mask: { keep: keepLeft(count), known: picture.narrow(0, from, count) },
    }),
  };
  const cases = names.flatMap((name) => Object.keys(starts).map((start) => [name, start] as const));

  it.each(cases)('%s %s', async (name, start) => {
    // a network without neighbours in its batch
    const run = (from: number, seed: number[]) =>
      lastLatent(samplers[name]((x) => x.mul(0.9), { ...starts[start](from, seed.length), seed }));
    const whole = floats(await run(0, [7, 8, 9]));
    const own = whole.length / 3;
    expect(floats(await run(1, [8]))).toEqual(whole.slice(own, 2 * own));
    expect(floats(await run(1, [8, 9]))).toEqual(whole.slice(own));
    expect(floats(await run(1, [6]))).not.toEqual(whole.slice(own, 2 * own));
  });
});

describe('what a mask keeps', () => {
  // A network that knows which noise hides the known part, and nothing of the rest.
  const known = picture;
  const kept = keepLeft(3);
  const hiding = full(shape, 0.7);
  const knowing: Denoiser = (x) => where(kept.gt(0), hiding, x.mul(0.1));
  const options = () => ({
    shape,
    seed: 3,
    mask: { keep: kept, known, noise: () => hiding.alias() },
  });
  const left = (x: Tensor): number[] => [...floats(x)].filter((_, i) => Math.floor(i / 2) % 4 < 2);
  const farthest = (a: Tensor, b: Tensor): number => {
    const wanted = left(b);
    return Math.max(...left(a).map((x, i) => Math.abs(x - wanted[i])));
  };

  it.each(names)('%s: it ends as it was given', async (name) => {
    const { alphasCumprod } = name === 'ddpm' ? short.schedule : schedule;
    // solvers go to the estimate itself, the others leave the noise of the first timestep
    const ends = ['ddim', 'plms', 'ddpm'].includes(name)
      ? known.mul(Math.sqrt(alphasCumprod[0])).add(hiding.mul(Math.sqrt(1 - alphasCumprod[0])))
      : known;
    // ancestral sampling blends behind each step, at the level of that step
    const blendsBefore = name !== 'ddpm';
    let last: Tensor | undefined;
    for await (const { latent, predX0 } of samplers[name](knowing, options())) {
      if (blendsBefore) expect(farthest(predX0, known)).toBeLessThan(2e-3);
      last = latent;
    }
    // the noise that DDIM adds in its last step comes on top
    const slack = name === 'ddim' ? 0.15 : 1e-4;
    expect(farthest(last!, ends)).toBeLessThan(slack);
  });
});
