/** Ancestral sampling through all T steps (DDPM, algorithm 2). */
import { clamp } from '../../ops/index.js';
import type { Denoiser, GaussianDiffusion } from '../diffusion/gaussian_diffusion.js';
import { checkOptions, flag, type Rules } from '../rules.js';
import { samplerRules, stepNoiseRules } from './rules.js';
import { runSteps } from './run.js';
import { blend, timesteps, type SamplerOptions, type SamplerRun } from './sampler.js';

export interface DdpmOptions extends Omit<SamplerOptions, 'parameterization'> {
  /** clamp the estimate of x_0 to [-1, 1]: for models of pixels. Default false */
  clipDenoised?: boolean;
}

// The diffusion knows what its network predicts.
const { parameterization: _, ...shared } = samplerRules;
const rules: Rules<Required<DdpmOptions>> = { ...shared, ...stepNoiseRules, clipDenoised: flag };

export function ddpm(
  denoise: Denoiser,
  diffusion: GaussianDiffusion,
  options: DdpmOptions,
): SamplerRun {
  checkOptions<DdpmOptions>('ddpm', options, rules, []);
  const { mask, clipDenoised = false, quantizeX0 } = options;
  const { schedule } = diffusion;
  const plan = {
    timesteps: Array.from({ length: schedule.timesteps }, (_, t) => t),
    alphas: schedule.alphasCumprod,
  };
  return runSteps(plan, options, (x, { index, step, noise }) => {
    const t = timesteps(x, index);
    const raw = diffusion.predictStart(x, t, denoise(x, t));
    const clipped = clipDenoised ? clamp(raw, -1, 1) : raw;
    const x0 = quantizeX0 ? quantizeX0(clipped) : clipped;
    const { mean } = diffusion.qPosterior(x0, x, t);
    const sigma = Math.exp(0.5 * schedule.posteriorLogVarianceClipped[index]);
    if (index === 0) noise.unused(x);
    const latent = index === 0 ? mean : mean.add(noise.step(step, x).mul(sigma));
    // the known part is brought to the level of the step just taken, as in the original
    const blended = mask
      ? blend(mask, latent, schedule.alphasCumprod[index], noise.mask(step, x))
      : latent;
    return { latent: blended, predX0: x0 };
  });
}
