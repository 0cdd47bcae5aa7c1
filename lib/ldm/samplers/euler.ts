/** Euler steps of the probability-flow equation in the noise-to-signal ratio (Karras et al., algorithm 1). */
import { check } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOptions, number, type Rules } from '../rules.js';
import { stepNoiseRules } from './rules.js';
import { runSteps } from './run.js';
import {
  blend,
  predictions,
  timesteps,
  type SamplerRun,
  type StepNoiseOptions,
} from './sampler.js';
import { solverGrid, solverRules, type SolverOptions } from './solver_grid.js';

export type EulerOptions = Omit<SolverOptions, StepNoiseOptions>;

export interface EulerAncestralOptions extends SolverOptions {
  /** share of the ancestral noise: 1 (default) as DDPM, 0 as {@link euler} */
  eta?: number;
}

const ancestralRules: Rules<Required<EulerAncestralOptions>> = {
  ...solverRules,
  ...stepNoiseRules,
  eta: number(0),
};

/** Deterministic; with the same timesteps and end the steps are those of DDIM with eta 0. */
export function euler(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: EulerOptions,
): SamplerRun {
  checkOptions<EulerOptions>('euler', options, solverRules, []);
  return run(denoise, schedule, options, 0);
}

/** Steps further down than asked, and noise back up to the level: as varied as ancestral sampling. */
export function eulerAncestral(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: EulerAncestralOptions,
): SamplerRun {
  checkOptions<EulerAncestralOptions>('eulerAncestral', options, ancestralRules, []);
  return run(denoise, schedule, options, options.eta ?? 1);
}

function run(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: SolverOptions,
  eta: number,
): SamplerRun {
  check(eta >= 0 && eta <= 1, () => `eulerAncestral: eta must lie in [0, 1]. Got ${eta}.`);
  const grid = solverGrid(schedule, options);
  const { mask } = options;
  return runSteps(grid, options, (latent, { index, step, noise }) => {
    const alphaBar = grid.alphas[index];
    const x = mask ? blend(mask, latent, alphaBar, noise.mask(step, latent)) : latent;
    const { eps, x0 } = predictions(
      denoise(x, timesteps(x, grid.timesteps[index])),
      x,
      alphaBar,
      options,
    );
    const [from, to] = [grid.at(index), grid.at(index - 1)];
    // in units of the signal: x / α = x_0 + ratio ε
    const [high, low] = [from.sigma / from.alpha, to.sigma / to.alpha];
    const up = eta * Math.sqrt(Math.max(0, low ** 2 * (1 - (low / high) ** 2)));
    const down = Math.sqrt(Math.max(0, low ** 2 - up ** 2));
    const stepped: Tensor = x0.add(eps.mul(down)).mul(to.alpha);
    const noisy = up === 0 ? stepped : stepped.add(noise.step(step, x).mul(up * to.alpha));
    return { latent: noisy, predX0: x0 };
  });
}
