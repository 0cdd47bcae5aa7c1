/** DPM-Solver++(2M) (Lu et al., "DPM-Solver++", algorithm 2): second order, one network call a step. */
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

export type DpmSolverOptions = Omit<SolverOptions, StepNoiseOptions>;

/** Good pictures in 15 to 30 steps. Deterministic given the initial noise. */
export function dpmSolverPlusPlus(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: DpmSolverOptions,
): SamplerRun {
  checkOptions<DpmSolverOptions>('dpm-solver++', options, solverRules, []);
  const grid = solverGrid(schedule, options);
  const { mask } = options;
  /** the estimate of the step before */
  let before: Tensor | null = null;
  return runSteps(
    grid,
    options,
    (latent, { index, step, noise }) => {
      const alphaBar = grid.alphas[index];
      const x = mask ? blend(mask, latent, alphaBar, noise.mask(step, latent)) : latent;
      const output = denoise(x, timesteps(x, grid.timesteps[index]));
      const { x0 } = predictions(output, x, alphaBar, options);
      const next = advance(grid, index, x, x0, before);
      before?.dispose();
      before = keep(x0.alias());
      return { latent: next, predX0: x0 };
    },
    () => before?.dispose(),
  );
}

/** (σ_t / σ_s) x - α_t (e^(-h) - 1) D, D the estimate at s continued along the line from the one before. */
function advance(
  grid: SolverGrid,
  index: number,
  x: Tensor,
  x0: Tensor,
  before: Tensor | null,
): Tensor {
  const [from, to] = [grid.at(index), grid.at(index - 1)];
  // Without noise at the end h is infinite, and the step leads to the estimate itself.
  const h = to.lambda - from.lambda;
  const slope =
    before && Number.isFinite(h) ? h / (from.lambda - grid.at(index + 1).lambda) / 2 : 0;
  const estimate = slope === 0 ? x0 : x0.add(x0.sub(before!).mul(slope));
  return x.mul(to.sigma / from.sigma).sub(estimate.mul(to.alpha * Math.expm1(-h)));
}
