/**
 * UniPC of second order (Zhao et al., "UniPC", algorithms 1 and 2, B(h) = e^h - 1, data prediction): a
 * predictor step, and the next network call also corrects it. One call a step.
 */
import { keep } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOptions } from '../rules.js';
import { runSteps } from './run.js';
import {
  blend,
  predictions,
  timesteps,
  type SamplerRun,
  type StepNoiseOptions,
} from './sampler.js';
import { solverGrid, solverRules, type SolverGrid, type SolverOptions } from './solver_grid.js';

export type UniPcOptions = Omit<SolverOptions, StepNoiseOptions>;

/** Good pictures in 10 to 20 steps. Deterministic given the initial noise. */
export function unipc(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: UniPcOptions,
): SamplerRun {
  checkOptions<UniPcOptions>('unipc', options, solverRules, []);
  const grid = solverGrid(schedule, options);
  const { mask } = options;
  /** estimates of earlier steps, newest first, two at most */
  const history: Tensor[] = [];
  /** the latent that the last step set out from */
  let origin: Tensor | null = null;
  const release = () => {
    history.forEach((x0) => x0.dispose());
    origin?.dispose();
  };
  return runSteps(
    grid,
    options,
    (latent, { index, step, noise }) => {
      const alphaBar = grid.alphas[index];
      const x = mask ? blend(mask, latent, alphaBar, noise.mask(step, latent)) : latent;
      const output = denoise(x, timesteps(x, grid.timesteps[index]));
      const { x0 } = predictions(output, x, alphaBar, options);
      // What a mask wrote into the latent is no step that could be corrected.
      const corrected = origin && !mask ? correct(grid, index, origin, x0, history) : x;
      origin?.dispose();
      origin = keep(corrected.alias());
      history.unshift(keep(x0.alias()));
      if (history.length > 2) history.pop()!.dispose();
      return { latent: predict(grid, index, corrected, history), predX0: x0 };
    },
    release,
  );
}

/** The quantities of a step from index `from` of the grid to the one below it. */
function stepOf(grid: SolverGrid, from: number) {
  const [s, t] = [grid.at(from), grid.at(from - 1)];
  const h = t.lambda - s.lambda;
  return { s, t, h, growth: Math.expm1(-h) };
}

/** (σ_t / σ_s) x - α_t (e^(-h) - 1) (m + Σ weights · differences) */
function advance(
  { s, t, growth }: ReturnType<typeof stepOf>,
  x: Tensor,
  estimate: Tensor,
  terms: readonly [weight: number, difference: Tensor][],
): Tensor {
  const moved = terms.reduce((sum, [weight, term]) => sum.add(term.mul(weight)), estimate);
  return x.mul(t.sigma / s.sigma).sub(moved.mul(t.alpha * growth));
}

function predict(
  grid: SolverGrid,
  index: number,
  x: Tensor,
  [m, before]: readonly Tensor[],
): Tensor {
  const step = stepOf(grid, index);
  // Without noise at the end the step leads to the estimate itself.
  if (!before || !Number.isFinite(step.h)) return advance(step, x, m, []);
  const r = (grid.at(index + 1).lambda - step.s.lambda) / step.h; // negative: it lies behind
  return advance(step, x, m, [[0.5 / r, before.sub(m)]]);
}

// The step that led to `index`, done again from where it set out, now that the estimate there is known.
function correct(
  grid: SolverGrid,
  index: number,
  origin: Tensor,
  x0: Tensor,
  [m, before]: readonly Tensor[],
): Tensor {
  const step = stepOf(grid, index + 1);
  if (!before) return advance(step, origin, m, [[0.5, x0.sub(m)]]);
  const r = (grid.at(index + 2).lambda - step.s.lambda) / step.h;
  // R ρ = b of the paper for two differences, at r and at 1
  const hh = -step.h;
  const b1 = (step.growth / hh - 1) / step.growth;
  const b2 = (2 * ((step.growth / hh - 1) / hh - 0.5)) / step.growth;
  const newest = (b2 - r * b1) / (1 - r);
  return advance(step, origin, m, [
    [(b1 - newest) / r, before.sub(m)],
    [newest, x0.sub(m)],
  ]);
}
