/** DDIM (Song et al., "Denoising diffusion implicit models", equation 12). */
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOptions, number, type Rules } from '../rules.js';
import { ddimSchedule, type DdimSchedule, type Discretize } from './ddim_schedule.js';
import { discretizations, samplerRules, stepCount, stepNoiseRules } from './rules.js';
import { runSteps } from './run.js';
import {
  blend,
  lastLatent,
  predictions,
  timesteps,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
} from './sampler.js';

export interface DdimOptions extends SamplerOptions {
  /** number of steps */
  steps: number;
  /** 0 (default): deterministic given the initial noise; 1: as noisy as ancestral sampling */
  eta?: number;
  /** how timesteps are spaced, default 'uniform' */
  discretize?: Discretize;
}

const rules: Rules<Required<DdimOptions>> = {
  ...samplerRules,
  ...stepNoiseRules,
  steps: stepCount,
  eta: number(0),
  discretize: discretizations,
};

/**
 * Samples step by step:
 *
 * ```ts
 * for await (const { step, predX0 } of ddim(denoise, schedule, { steps: 50, shape, seed: 1 })) ...
 * ```
 *
 * @throws ArgumentError for options that are unknown or out of range, as all samplers do
 */
export function ddim(denoise: Denoiser, schedule: NoiseSchedule, options: DdimOptions): SamplerRun {
  checkOptions<DdimOptions>('ddim', options, rules, ['steps']);
  const table = ddimSchedule(schedule, options);
  const { mask } = options;
  return runSteps(table, options, (latent, { index, step, noise }) => {
    const alphaBar = table.alphas[index];
    const x = mask ? blend(mask, latent, alphaBar, noise.mask(step, latent)) : latent;
    const output = denoise(x, timesteps(x, table.timesteps[index]));
    const { eps, x0 } = predictions(output, x, alphaBar, options);
    const next = ddimStep(eps, x0, table, index);
    const sigma = table.sigmas[index];
    if (sigma === 0) noise.unused(x);
    return { latent: sigma === 0 ? next : next.add(noise.step(step, x).mul(sigma)), predX0: x0 };
  });
}

/** Runs DDIM to the end; gives the final latent. */
export function sampleDdim(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  { onStep, ...options }: DdimOptions & { onStep?: (step: SamplerStep) => void | Promise<void> },
): Promise<Tensor> {
  return lastLatent(ddim(denoise, schedule, options), onStep);
}

/** √a_prev x_0 + √(1 - a_prev - σ²) ε, without the step's noise. */
export function ddimStep(eps: Tensor, x0: Tensor, table: DdimSchedule, index: number): Tensor {
  const previous = table.alphasPrev[index];
  const direction = Math.sqrt(Math.max(0, 1 - previous - table.sigmas[index] ** 2));
  return x0.mul(Math.sqrt(previous)).add(eps.mul(direction));
}
