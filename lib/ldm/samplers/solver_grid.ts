/** Where the solvers of the probability-flow equation set their steps. */
import { check } from '../../errors.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { checkOption, list, number, oneOf, type Rules } from '../rules.js';
import { samplerRules, spacings, stepCount } from './rules.js';
import type { SamplerOptions, StepNoiseOptions, StepPlan } from './sampler.js';

/**
 * How steps are spread. `linspace`: evenly from T - 1 down, 0 left out; `leading`: every ⌊T/S⌋-th timestep and
 * one, as DDIM has it; `trailing`: evenly, T - 1 included and the last step short; `karras`: the noise-to-signal
 * ratio to the power 1/7 evenly (Karras et al., equation 5); `logsnr`: the signal-to-noise ratio's logarithm
 * evenly (DPM-Solver, section 3.3). The last two visit timesteps between the trained ones.
 */
export type Spacing = 'linspace' | 'leading' | 'trailing' | 'karras' | 'logsnr';

export interface SolverOptions extends SamplerOptions {
  /** number of steps, and of network calls */
  steps: number;
  /** default 'linspace' */
  spacing?: Spacing;
  /** the timesteps themselves instead, descending, whole or not, each in [0, T - 1] */
  timesteps?: readonly number[];
  /** what the last step leads to: 'clean' (default) is the estimate without noise, 'first' is ᾱ_0 as in DDIM */
  end?: 'clean' | 'first';
}

/** Of solvers without noise of their own. */
export const solverRules: Rules<Required<Omit<SolverOptions, StepNoiseOptions>>> = {
  ...samplerRules,
  steps: stepCount,
  spacing: spacings,
  timesteps: list(number(0), 1, 100_000),
  end: oneOf('clean', 'first'),
};

/** A plan with what the solvers' formulas are written in, x = α x_0 + σ ε. */
export interface SolverGrid extends StepPlan {
  readonly timesteps: readonly number[];
  readonly alphas: readonly number[];
  /** Signal, noise and λ = ln(α / σ) at a step of the plan; at -1 what the last step leads to. */
  at(index: number): { alpha: number; sigma: number; lambda: number };
}

/** ᾱ at a timestep between the trained ones: ln ᾱ on the line between its neighbours. */
function alphaBarAt({ exact, timesteps }: NoiseSchedule, t: number): number {
  const below = Math.min(Math.floor(t), timesteps - 2);
  if (below < 0) return exact.alphasCumprod[0];
  const [low, high] = [exact.alphasCumprod[below], exact.alphasCumprod[below + 1]];
  return low * (high / low) ** (t - below);
}

/** The timestep at which ᾱ has a value. */
function timestepOf({ exact, timesteps }: NoiseSchedule, alphaBar: number): number {
  const table = exact.alphasCumprod;
  let [low, high] = [0, timesteps - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (table[middle] > alphaBar) low = middle;
    else high = middle;
  }
  return low + Math.log(alphaBar / table[low]) / Math.log(table[high] / table[low]);
}

/** S timesteps, ascending. */
function spread(schedule: NoiseSchedule, steps: number, spacing: Spacing): number[] {
  const T = schedule.timesteps;
  const along = (at: (i: number) => number) => Array.from({ length: steps }, (_, i) => at(i));
  // by a function of the noise-to-signal ratio, from its least to its largest value
  const even = (forward: (ratio: number) => number, back: (value: number) => number) => {
    const ratio = (t: number) => Math.sqrt(1 / schedule.exact.alphasCumprod[t] - 1);
    const [least, most] = [forward(ratio(0)), forward(ratio(T - 1))];
    return along((i) => {
      if (i === steps - 1) return T - 1;
      if (i === 0) return 0;
      const value = least + (i / (steps - 1)) * (most - least);
      return timestepOf(schedule, 1 / (1 + back(value) ** 2));
    });
  };
  switch (spacing) {
    case 'linspace':
      return along((i) => Math.round(((i + 1) / steps) * (T - 1)));
    case 'leading':
      return along((i) => Math.min(i * Math.floor(T / steps) + 1, T - 1));
    case 'trailing':
      return along((i) => Math.round(((i + 1) * T) / steps) - 1);
    case 'karras':
      return even(
        (ratio) => ratio ** (1 / 7),
        (value) => value ** 7,
      );
    case 'logsnr':
      return even(Math.log, Math.exp);
  }
}

/** Most steps of a spacing: two of them never visit timestep 0. */
export function mostSteps(timesteps: number, spacing: Spacing = 'linspace'): number {
  const withoutFirst = spacing === 'linspace' || spacing === 'leading';
  return withoutFirst ? Math.max(1, timesteps - 1) : timesteps;
}

export function solverGrid(schedule: NoiseSchedule, options: SolverOptions): SolverGrid {
  const { steps, spacing = 'linspace', timesteps: given, end = 'clean' } = options;
  checkOption('sampler', 'spacing', spacing, spacings);
  const T = schedule.timesteps;
  const count = given?.length ?? steps;
  const most = given ? T : mostSteps(T, spacing);
  check(Number.isInteger(count) && count > 0 && count <= most, () => {
    const place = most < T ? ` for spacing '${spacing}'` : '';
    return `sampler: steps must be an integer in 1..${most}${place}. Got ${count}.`;
  });
  const timesteps = given ? [...given].reverse() : spread(schedule, count, spacing);
  check(
    timesteps.every((t, i) => t >= 0 && t <= T - 1 && (i === 0 || t > timesteps[i - 1])),
    () => `sampler: timesteps must descend within [0, ${T - 1}]. Got ${given?.join(', ')}.`,
  );
  const alphas = timesteps.map((t) => alphaBarAt(schedule, t));
  const last = end === 'clean' ? 1 : schedule.exact.alphasCumprod[0];
  const at = (index: number) => {
    const alphaBar = index < 0 ? last : alphas[index];
    const [alpha, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    return { alpha, sigma, lambda: Math.log(alpha / sigma) };
  };
  return { timesteps, alphas, at };
}
