// The solvers step by step against the formulas of their papers, written once more for single numbers in float64.
import { describe, expect, it } from 'vitest';
import {
  dpmSolverPlusPlus,
  euler,
  eulerAncestral,
  GaussianDiffusion,
  solverGrid,
  tensor,
  unipc,
  type Parameterization,
  type SamplerRun,
} from '../../lib/index.js';
import { exactDenoiser, predicting } from './mixture.js';

const { schedule } = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const alphaBars = schedule.exact.alphasCumprod;
const alphaBarAt = (t: number): number => alphaBars[t];
const exact = exactDenoiser(alphaBarAt);

const steps = 6;
const starts = [-1.7, -0.2, 0.4, 2.3];
// any numbers do for the noise of each step
const gaussian = (step: number, i: number): number => Math.sin(1 + 3 * step + 7 * i) * 1.3;

/** α, σ and λ at a noise level. */
interface Level {
  alpha: number;
  sigma: number;
  lambda: number;
}
const levelOf = (alphaBar: number): Level => {
  const [alpha, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  return { alpha, sigma, lambda: Math.log(alpha / sigma) };
};

type End = 'clean' | 'first';

/** The levels from the first step's on, what the last one leads to included, and the timesteps of the steps. */
function plan(end: End): { t: number[]; levels: Level[] } {
  const t = [...solverGrid(schedule, { steps }).timesteps].reverse();
  const last = end === 'clean' ? 1 : alphaBars[0];
  return { t, levels: [...t.map((each) => alphaBars[each]), last].map(levelOf) };
}

/** x_θ: the clean number that the exact network expects behind x. */
function estimate(x: number, t: number): number {
  const at = tensor(BigInt64Array.of(BigInt(t)));
  const [eps] = exact(tensor([x], { dtype: 'float64' }), at).dataSync() as Float64Array;
  const { alpha, sigma } = levelOf(alphaBars[t]);
  return (x - sigma * eps) / alpha;
}

/** Latents behind each step, of one start. */
type Reference = (x: number, start: number, end: End) => number[];

async function expectSteps(run: (end: End) => SamplerRun, reference: Reference, end: End) {
  const expected = starts.map((x, i) => reference(x, i, end));
  let seen = 0;
  for await (const { step, latent } of run(end)) {
    const found = [...(latent.dataSync() as Float64Array)];
    found.forEach((x, i) =>
      expect(x, `step ${step}, start ${i}`).toBeCloseTo(expected[i][step], 9),
    );
    seen++;
  }
  expect(seen).toBe(steps);
}

const initial = () => tensor(starts, { shape: [4, 1, 1, 1], dtype: 'float64' });

describe.each<[End, Parameterization]>([
  ['clean', 'eps'],
  ['first', 'eps'],
  ['clean', 'v'],
  ['first', 'v'],
  ['clean', 'x0'],
])('with the end %s, of a network that predicts %s', (end, parameterization) => {
  const denoise = predicting(parameterization, alphaBarAt);
  const shared = { parameterization, steps, end };

  it('DPM-Solver++(2M) is algorithm 2 of its paper', () =>
    expectSteps(
      () => dpmSolverPlusPlus(denoise, schedule, { ...shared, initial: initial() }),
      (x, _, to) => {
        const { t, levels } = plan(to);
        const path: number[] = [];
        const models: number[] = [];
        for (let i = 1; i <= steps; ++i) {
          const [from, next] = [levels[i - 1], levels[i]];
          const h = next.lambda - from.lambda;
          models.push(estimate(x, t[i - 1]));
          let D = models[i - 1];
          // without noise h is infinite: the step is the first order's, which is the estimate
          if (i >= 2 && Number.isFinite(h)) {
            const r = (from.lambda - levels[i - 2].lambda) / h;
            D = (1 + 1 / (2 * r)) * models[i - 1] - (1 / (2 * r)) * models[i - 2];
          }
          x = (next.sigma / from.sigma) * x - next.alpha * (Math.exp(-h) - 1) * D;
          path.push(x);
        }
        return path;
      },
      end,
    ));

  // UniC with three estimates is the integral of the parabola through them; UniP of second order and the first
  // correction have the weight 1/2 that the paper puts in the place of the solution.
  it('UniPC is a predictor, and a corrector that integrates a parabola', () =>
    expectSteps(
      () => unipc(denoise, schedule, { ...shared, initial: initial() }),
      (x, _, to) => {
        const { t, levels } = plan(to);
        const path: number[] = [];
        const models: number[] = [];
        let origin = NaN;
        for (let i = 1; i <= steps; ++i) {
          const m = estimate(x, t[i - 1]);
          if (i >= 2) x = corrected(origin, m, models, levels.slice(0, i));
          models.push(m);
          origin = x;
          const [from, next] = [levels[i - 1], levels[i]];
          const h = next.lambda - from.lambda;
          x = (next.sigma / from.sigma) * origin + next.alpha * (1 - Math.exp(-h)) * m;
          if (i >= 2 && Number.isFinite(h)) {
            const r = (levels[i - 2].lambda - from.lambda) / h;
            const B = Math.exp(-h) - 1;
            x -= next.alpha * B * 0.5 * ((models[i - 2] - m) / r);
          }
          path.push(x);
        }
        return path;
      },
      end,
    ));

  it.each([0, 0.4, 1])('ancestral Euler with eta %d', (eta) =>
    expectSteps(
      () =>
        eulerAncestral(denoise, schedule, {
          ...shared,
          eta,
          initial: initial(),
          noise: (step) =>
            tensor(
              starts.map((_, i) => gaussian(step, i)),
              { shape: [4, 1, 1, 1], dtype: 'float64' },
            ),
        }),
      (x, start, to) => {
        const { t, levels } = plan(to);
        return t.map((timestep, i) => {
          const [from, next] = [levels[i], levels[i + 1]];
          const [high, low] = [from.sigma / from.alpha, next.sigma / next.alpha];
          const up = Math.min(
            low,
            eta * Math.sqrt((low ** 2 * (high ** 2 - low ** 2)) / high ** 2),
          );
          const down = Math.sqrt(low ** 2 - up ** 2);
          // y = x / α, whose derivative by the noise-to-signal ratio is (y - x_θ) / ratio
          const y = x / from.alpha;
          const slope = (y - estimate(x, timestep)) / high;
          x = next.alpha * (y + slope * (down - high) + up * gaussian(i, start));
          return x;
        });
      },
      end,
    ),
  );

  it('Euler is ancestral Euler without noise', () =>
    expectSteps(
      () => euler(denoise, schedule, { ...shared, initial: initial() }),
      (x, _, to) => {
        const { t, levels } = plan(to);
        return t.map((timestep, i) => {
          const clean = estimate(x, timestep);
          const eps = (x - levels[i].alpha * clean) / levels[i].sigma;
          x = levels[i + 1].alpha * clean + levels[i + 1].sigma * eps;
          return x;
        });
      },
      end,
    ));
});

/** The step from `origin` to the last of the levels, now that the estimate m there is known. */
function corrected(origin: number, m: number, models: readonly number[], levels: readonly Level[]) {
  const [to, from, before] = [...levels].reverse();
  const h = to.lambda - from.lambda;
  const [base, ratio] = [models[models.length - 1], to.sigma / from.sigma];
  if (levels.length === 2) {
    const linear = to.alpha * (1 - Math.exp(-h)) * (base + 0.5 * (m - base));
    return ratio * origin + linear;
  }
  const r = (before.lambda - from.lambda) / h;
  const [atR, at1] = [models[models.length - 2] - base, m - base];
  // base + c1 θ + c2 θ² through (0, base), (r, ...) and (1, m)
  const c2 = (atR / r - at1) / (r - 1);
  const c1 = at1 - c2;
  return (
    ratio * origin +
    to.alpha * h * integral((θ) => Math.exp((θ - 1) * h) * (base + c1 * θ + c2 * θ ** 2))
  );
}

/** Over [0, 1], by Simpson's rule. */
function integral(f: (θ: number) => number): number {
  const parts = 4000;
  let sum = f(0) + f(1);
  for (let i = 1; i < parts; ++i) sum += (i % 2 === 1 ? 4 : 2) * f(i / parts);
  return sum / (3 * parts);
}
