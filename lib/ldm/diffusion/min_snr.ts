/** Min-SNR weighting of the loss (Hang et al., "Efficient diffusion training via min-SNR weighting strategy"). */
import { check } from '../../errors.js';
import type { NoiseSchedule } from './schedule.js';

/**
 * Weights of timesteps [T]: steps of little noise, whose errors hardly show, no longer weigh most. With the
 * signal-to-noise ratio s = ᾱ/(1-ᾱ), the weight of the error in x_0 becomes min(s, γ); in other terms
 * min(s, γ)/s for ε, min(s, γ)/(s + 1) for v.
 *
 * @param gamma the authors' choice is 5
 */
export function minSnrWeights(
  { exact }: NoiseSchedule,
  parameterization: 'eps' | 'x0' | 'v',
  gamma: number,
): Float32Array {
  check(gamma > 0, () => `diffusion: minSnrGamma must be above 0. Got ${gamma}.`);
  const divisor = { eps: (s: number) => s, x0: () => 1, v: (s: number) => s + 1 };
  return Float32Array.from(exact.alphasCumprod, (alphaBar) => {
    const snr = alphaBar / (1 - alphaBar);
    return Math.min(snr, gamma) / divisor[parameterization](snr);
  });
}
