// DDIM, PLMS and ancestral sampling step by step against their formulas, written once more for single numbers in
// float64: with steps spread by squares, estimates that are quantised, and networks that predict each thing.
import { describe, expect, it } from 'vitest';
import {
  ddim,
  ddpm,
  euler,
  GaussianDiffusion,
  lastLatent,
  plms,
  round,
  tensor,
  type Denoiser,
  type Parameterization,
  type SamplerRun,
  type Tensor,
} from '../../lib/index.js';
import { exactDenoiser, predicting } from './mixture.js';

const config = { linearStart: 0.0015, linearEnd: 0.0195 };
const { schedule } = new GaussianDiffusion(config);
// the samplers' tables are the published ones, in float32
const alphaBarAt = (t: number): number => schedule.alphasCumprod[t];
const exact = exactDenoiser(alphaBarAt);
const kinds: Parameterization[] = ['eps', 'x0', 'v'];

const starts = [-1.7, -0.2, 0.4, 2.3];
const column = (values: readonly number[]) =>
  tensor([...values], { shape: [values.length, 1, 1, 1], dtype: 'float64' });
const initial = () => column(starts);
// any numbers do for the noise of each step
const gaussian = (step: number, i: number): number => Math.sin(1 + 3 * step + 7 * i) * 1.3;
const noise = (step: number) => column(starts.map((_, i) => gaussian(step, i)));

/** To the nearest of the codes -1, -0.5, 0, ... */
const nearest = (x: number): number => Math.round(2 * x) / 2;
const quantizeX0 = (x0: Tensor): Tensor => round(x0.mul(2)).div(2);

/** ε as the exact network gives it for one number. */
const epsOf = (x: number, t: number, denoise: Denoiser = exact): number => {
  const [eps] = denoise(
    column([x]),
    tensor(BigInt64Array.of(BigInt(t))),
  ).dataSync() as Float64Array;
  return eps;
};
const cleanOf = (x: number, eps: number, alphaBar: number): number =>
  (x - Math.sqrt(1 - alphaBar) * eps) / Math.sqrt(alphaBar);

/** Latents behind each step from a start, its number being that of its noise. */
type Reference = (x: number, start: number) => number[];

async function expectSteps(run: SamplerRun, reference: Reference, digits = 9): Promise<void> {
  const expected = starts.map(reference);
  let seen = 0;
  for await (const { step, latent } of run) {
    [...(latent.dataSync() as Float64Array)].forEach((x, i) =>
      expect(x, `step ${step}, start ${i}`).toBeCloseTo(expected[i][step], digits),
    );
    seen++;
  }
  expect(seen).toBe(expected[0].length);
}

/** Timesteps and, of each, ᾱ and the one that its step leads to; noisiest first. */
function byTable(timesteps: readonly number[]) {
  return timesteps
    .map((t, i) => ({
      t,
      at: alphaBarAt(t),
      to: i === 0 ? alphaBarAt(0) : alphaBarAt(timesteps[i - 1]),
    }))
    .reverse();
}

/** DDIM's equation 12, where x_0 may be replaced and ε stays what the network gave. */
function ddimStep(
  { at, to }: { at: number; to: number },
  { eps, x0, eta, z }: { eps: number; x0: number; eta: number; z: number },
): number {
  const sigma = eta * Math.sqrt((1 - to) / (1 - at)) * Math.sqrt(1 - at / to);
  return Math.sqrt(to) * x0 + Math.sqrt(1 - to - sigma ** 2) * eps + sigma * z;
}

const uniform = [1, 201, 401, 601, 801];
// squares of 0, 4.714..., ..., 28.284... = √800, cut to whole numbers, and one
const quad = [1, 23, 89, 201, 356, 556, 801];

describe('DDIM', () => {
  it.each(kinds.flatMap((kind) => [0, 0.5, 1].map((eta) => [kind, eta] as const)))(
    'of a network that predicts %s, with eta %f, spread by squares',
    (kind, eta) =>
      expectSteps(
        ddim(predicting(kind, alphaBarAt), schedule, {
          ...{ steps: 7, eta, discretize: 'quad', parameterization: kind },
          ...{ initial: initial(), noise },
        }),
        (x, start) =>
          byTable(quad).map(({ t, at, to }, step) => {
            const eps = epsOf(x, t);
            const x0 = cleanOf(x, eps, at);
            return (x = ddimStep({ at, to }, { eps, x0, eta, z: gaussian(step, start) }));
          }),
      ),
  );

  it.each([0, 1])('with eta %d goes on from quantised estimates', (eta) =>
    expectSteps(
      ddim(exact, schedule, { steps: 5, eta, initial: initial(), noise, quantizeX0 }),
      (x, start) =>
        byTable(uniform).map(({ t, at, to }, step) => {
          const eps = epsOf(x, t);
          const x0 = nearest(cleanOf(x, eps, at));
          return (x = ddimStep({ at, to }, { eps, x0, eta, z: gaussian(step, start) }));
        }),
    ),
  );
});

describe('PLMS', () => {
  it.each(kinds.flatMap((kind) => [false, true].map((quantized) => [kind, quantized] as const)))(
    'of a network that predicts %s, estimates quantised: %s',
    (kind, quantized) =>
      expectSteps(
        plms(predicting(kind, alphaBarAt), schedule, {
          ...{ steps: 5, parameterization: kind, initial: initial() },
          ...(quantized && { quantizeX0 }),
        }),
        (x) => {
          const table = byTable(uniform);
          const history: number[] = [];
          const advance = (from: number, eps: number, { at, to }: (typeof table)[number]) => {
            const plain = cleanOf(from, eps, at);
            return ddimStep(
              { at, to },
              { eps, x0: quantized ? nearest(plain) : plain, eta: 0, z: 0 },
            );
          };
          return table.map((place, step) => {
            const eps = epsOf(x, place.t);
            const [a, b, c] = history;
            const combined = [
              () => (eps + epsOf(advance(x, eps, place), table[step + 1].t)) / 2,
              () => (3 * eps - a) / 2,
              () => (23 * eps - 16 * a + 5 * b) / 12,
              () => (55 * eps - 59 * a + 37 * b - 9 * c) / 24,
            ][Math.min(step, 3)]();
            history.unshift(eps);
            return (x = advance(x, combined, place));
          });
        },
      ),
  );
});

describe('ancestral sampling', () => {
  it.each(kinds.flatMap((kind) => [false, true].map((quantized) => [kind, quantized] as const)))(
    'of a network that predicts %s, estimates quantised: %s',
    (parameterization, quantized) => {
      const diffusion = new GaussianDiffusion({ ...config, timesteps: 8, parameterization });
      const { betas, alphasCumprod } = diffusion.schedule.exact;
      const at = (t: number): number => alphasCumprod[t];
      const network = exactDenoiser(at);
      return expectSteps(
        ddpm(predicting(parameterization, at), diffusion, {
          ...{ initial: initial(), noise },
          ...(quantized && { quantizeX0 }),
        }),
        (x, start) =>
          [7, 6, 5, 4, 3, 2, 1, 0].map((t, step) => {
            const plain = cleanOf(x, epsOf(x, t, network), at(t));
            const x0 = quantized ? nearest(plain) : plain;
            const before = t === 0 ? 1 : at(t - 1);
            const mean =
              ((Math.sqrt(before) * betas[t]) / (1 - at(t))) * x0 +
              ((Math.sqrt(1 - betas[t]) * (1 - before)) / (1 - at(t))) * x;
            const variance = (betas[t] * (1 - before)) / (1 - at(t));
            return (x = mean + (t === 0 ? 0 : Math.sqrt(variance) * gaussian(step, start)));
          }),
        // its tables are in float32
        5,
      );
    },
  );
});

it('Euler goes on from quantised estimates', async () => {
  const alphaBars = schedule.exact.alphasCumprod;
  const network = exactDenoiser((t) => alphaBars[t]);
  const timesteps = [900, 500, 100];
  await expectSteps(
    euler(network, schedule, { steps: 3, timesteps, initial: initial(), quantizeX0 }),
    (x) =>
      timesteps.map((t, i) => {
        const eps = epsOf(x, t, network);
        const to = i === 2 ? 1 : alphaBars[timesteps[i + 1]];
        const x0 = nearest(cleanOf(x, eps, alphaBars[t]));
        return (x = Math.sqrt(to) * x0 + Math.sqrt(1 - to) * eps);
      }),
  );
});

describe('the loss of a network that predicts v', () => {
  const diffusion = new GaussianDiffusion({
    ...{ ...config, parameterization: 'v', lSimpleWeight: 0.5, originalElboWeight: 0.25 },
  });

  it('weighs all timesteps alike in the bound', async () => {
    expect(new Set(diffusion.schedule.lvlbWeights.v)).toEqual(new Set([1]));
    const [t, eps] = [tensor(BigInt64Array.of(0n, 3n, 500n, 999n)), noise(1)];
    const found = diffusion.loss((x) => x.mul(0.3), initial(), t, eps);
    const errors = starts.map((x0, i) => {
      const alphaBar = schedule.alphasCumprod[Number([0n, 3n, 500n, 999n][i])];
      const [signal, level] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
      const z = gaussian(1, i);
      const target = signal * z - level * x0;
      return (target - 0.3 * (signal * x0 + level * z)) ** 2;
    });
    const mean = errors.reduce((a, b) => a + b) / 4;
    expect(await found.lossSimple.item()).toBeCloseTo(mean, 6);
    expect(await found.lossVlb.item()).toBeCloseTo(mean, 6);
    expect(await found.loss.item()).toBeCloseTo(0.75 * mean, 6);
  });
});

it('what a run ends with is its last latent', async () => {
  const run = () => ddim(exact, schedule, { steps: 5, initial: initial() });
  let last: Float64Array | undefined;
  for await (const { latent } of run()) last = latent.dataSync() as Float64Array;
  expect([...((await lastLatent(run())).dataSync() as Float64Array)]).toEqual([...last!]);
});
