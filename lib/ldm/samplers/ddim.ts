/** DDIM (Song et al., "Denoising diffusion implicit models", equation 12). */
import type { Tensor } from '../../tensor.js';
import type { Denoiser, Parameterization } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { ddimSchedule, type DdimSchedule, type Discretize } from './ddim_schedule.js';
import { runSteps } from './run.js';
import {
  blend,
  lastLatent,
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

/**
 * Samples step by step:
 *
 * ```ts
 * for await (const { step, predX0 } of ddim(denoise, schedule, { steps: 50, shape, seed: 1 })) ...
 * ```
 */
export function ddim(denoise: Denoiser, schedule: NoiseSchedule, options: DdimOptions): SamplerRun {
  const table = ddimSchedule(schedule, options);
  const { mask, parameterization = 'eps', temperature = 1 } = options;
  const last = table.timesteps.length - 1;
  return runSteps([...table.timesteps].reverse(), options, (latent, step, noise) => {
    const index = last - step;
    const x = mask ? blend(mask, latent, table.alphas[index], noise.mask(step, latent)) : latent;
    const output = denoise(x, timesteps(x, table.timesteps[index]));
    const { eps, x0 } = predictions(output, x, table, index, parameterization);
    const next = ddimStep(eps, x0, table, index);
    const sigma = table.sigmas[index] * temperature;
    return { latent: sigma === 0 ? next : next.add(noise.step(step, x).mul(sigma)), predX0: x0 };
  });
}

/** Runs DDIM to the end; gives the final latent. */
export function sampleDdim(
  denoise: Denoiser,
  schedule: NoiseSchedule,
  options: DdimOptions & { onStep?: (step: SamplerStep) => void | Promise<void> },
): Promise<Tensor> {
  return lastLatent(ddim(denoise, schedule, options), options.onStep);
}

/** ε and x_0 = (x - √(1-a) ε) / √a, from what the network gives. */
export function predictions(
  output: Tensor,
  x: Tensor,
  table: DdimSchedule,
  index: number,
  parameterization: Parameterization,
): { eps: Tensor; x0: Tensor } {
  const signal = Math.sqrt(table.alphas[index]);
  const level = table.sqrtOneMinusAlphas[index];
  switch (parameterization) {
    case 'x0':
      return { x0: output, eps: x.sub(output.mul(signal)).div(level) };
    case 'v':
      return {
        x0: x.mul(signal).sub(output.mul(level)),
        eps: x.mul(level).add(output.mul(signal)),
      };
    case 'eps':
      return { eps: output, x0: x.sub(output.mul(level)).div(signal) };
  }
}

/** √a_prev x_0 + √(1 - a_prev - σ²) ε, without the step's noise. */
export function ddimStep(eps: Tensor, x0: Tensor, table: DdimSchedule, index: number): Tensor {
  const previous = table.alphasPrev[index];
  const direction = Math.sqrt(Math.max(0, 1 - previous - table.sigmas[index] ** 2));
  return x0.mul(Math.sqrt(previous)).add(eps.mul(direction));
}
