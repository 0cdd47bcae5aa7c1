/** PLMS: DDIM steps along a linear multistep estimate (Liu et al., "Pseudo numerical methods"). */
import { keep } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOptions, type Rules } from '../rules.js';
import { ddimStep } from './ddim.js';
import { ddimSchedule, type Discretize } from './ddim_schedule.js';
import { discretizations, samplerRules, stepCount } from './rules.js';
import { runSteps } from './run.js';
import {
  blend,
  predictions,
  timesteps,
  type RunNoise,
  type SamplerOptions,
  type SamplerRun,
  type StepNoiseOptions,
} from './sampler.js';

export interface PlmsOptions extends Omit<SamplerOptions, StepNoiseOptions> {
  /** number of steps */
  steps: number;
  /** how timesteps are spaced, default 'uniform' */
  discretize?: Discretize;
}

const rules: Rules<Required<PlmsOptions>> = {
  ...samplerRules,
  steps: stepCount,
  discretize: discretizations,
};

// Adams-Bashforth weights of the newest estimate and those before it
const weights = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

/** Deterministic sampling with one network call per step, and one more in the first. */
export function plms(denoise: Denoiser, schedule: NoiseSchedule, options: PlmsOptions): SamplerRun {
  checkOptions<PlmsOptions>('plms', options, rules, ['steps']);
  const table = ddimSchedule(schedule, { ...options, eta: 0 });
  const { mask, parameterization } = options;
  /** ε of earlier steps, newest first */
  const history: Tensor[] = [];

  const estimate = (x: Tensor, index: number) => {
    const output = denoise(x, timesteps(x, table.timesteps[index]));
    return predictions(output, x, table.alphas[index], { parameterization }).eps;
  };
  const advance = (x: Tensor, eps: Tensor, index: number, noise: RunNoise) => {
    noise.unused(x);
    const { x0 } = predictions(eps, x, table.alphas[index], {
      ...options,
      parameterization: 'eps',
    });
    return { latent: ddimStep(eps, x0, table, index), predX0: x0 };
  };

  return runSteps(
    table,
    options,
    (latent, { index, step, noise }) => {
      const x = mask ? blend(mask, latent, table.alphas[index], noise.mask(step, latent)) : latent;
      const eps = estimate(x, index);
      let combined: Tensor;
      if (history.length === 0) {
        // improved Euler: the mean of the slopes here and after a tentative step
        const tentative = advance(x, eps, index, noise).latent;
        combined = eps.add(estimate(tentative, Math.max(index - 1, 0))).mul(0.5);
      } else {
        const terms = [eps, ...history];
        const [newest, ...earlier] = weights[history.length].map((w, i) => terms[i].mul(w));
        combined = earlier.reduce((sum, term) => sum.add(term), newest);
      }
      history.unshift(keep(eps));
      if (history.length > 3) history.pop()!.dispose();
      return advance(x, combined, index, noise);
    },
    () => history.forEach((eps) => eps.dispose()),
  );
}
