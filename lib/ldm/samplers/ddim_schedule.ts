/** The timesteps and coefficients of DDIM and PLMS (DDIM paper, section 4.2 and appendix D). */
import { check } from '../../errors.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOption, number } from '../rules.js';
import { discretizations } from './rules.js';

export type Discretize = 'uniform' | 'quad';

/**
 * The training timesteps visited by `steps` sampling steps, ascending, already shifted by one.
 * `uniform` takes every ⌊T/S⌋-th step, which gives more than S entries where S does not divide T.
 */
export function ddimTimesteps(discretize: Discretize, steps: number, timesteps: number): number[] {
  checkOption('DDIM', 'discretize', discretize, discretizations);
  check(Number.isInteger(steps) && steps > 0 && steps <= timesteps, () => {
    return `DDIM: steps must be an integer in 1..${timesteps}. Got ${steps}.`;
  });
  const chosen: number[] = [];
  if (discretize === 'uniform') {
    const stride = Math.floor(timesteps / steps);
    for (let t = 0; t < timesteps; t += stride) chosen.push(t + 1);
  } else {
    const end = Math.sqrt(timesteps * 0.8);
    const root = (i: number) => (i === 0 ? 0 : i === steps - 1 ? end : i * (end / (steps - 1)));
    for (let i = 0; i < steps; i++) chosen.push(Math.floor(root(i) ** 2) + 1);
  }
  return chosen;
}

/** Coefficients per sampling step, ascending in t. */
export interface DdimSchedule {
  readonly timesteps: readonly number[];
  /** how many were asked for; `uniform` may visit more */
  readonly asked?: number;
  /** ᾱ at each timestep */
  readonly alphas: Float64Array;
  /** ᾱ at the next smaller timestep; the first entry is ᾱ_0, not 1 */
  readonly alphasPrev: Float64Array;
  readonly sigmas: Float64Array;
  readonly sqrtOneMinusAlphas: Float64Array;
}

/**
 * Steps of a DDIM run. The shift by one makes some lists end in T, one past the tables (every S
 * whose stride divides T-1): such an entry is taken as T-1.
 */
export function ddimSchedule(
  schedule: NoiseSchedule,
  options: { steps: number; eta?: number; discretize?: Discretize },
): DdimSchedule {
  const { steps, eta = 0, discretize = 'uniform' } = options;
  checkOption('DDIM', 'eta', eta, number(0));
  const timesteps = ddimTimesteps(discretize, steps, schedule.timesteps).map((t) =>
    Math.min(t, schedule.timesteps - 1),
  );
  return { ...ddimCoefficients(schedule, timesteps, eta), asked: steps };
}

/** a, a_prev, σ and √(1-a) for a given list of timesteps. */
export function ddimCoefficients(
  schedule: NoiseSchedule,
  timesteps: readonly number[],
  eta: number,
): DdimSchedule {
  const alphaBar = schedule.alphasCumprod;
  const alphas = Float64Array.from(timesteps, (t) => alphaBar[t]);
  const alphasPrev = Float64Array.from(timesteps, (_, i) =>
    i === 0 ? alphaBar[0] : alphaBar[timesteps[i - 1]],
  );
  return {
    timesteps,
    alphas,
    alphasPrev,
    sigmas: alphas.map((a, i) => {
      const prev = alphasPrev[i];
      return eta * Math.sqrt(((1 - prev) / (1 - a)) * (1 - a / prev));
    }),
    sqrtOneMinusAlphas: alphas.map((a) => Math.sqrt(1 - a)),
  };
}
