// The samplers of `emulsion sample` by their names there, and which options each takes.
import type { Discretize, SampleOptions, SamplingMethod, Spacing } from '../ldm/index.js';
import { UsageError } from './run.js';
import type { SamplingCommandOptions } from './sampling_options.js';

export type SamplerName = 'ddim' | 'plms' | 'ddpm' | 'dpm++' | 'euler' | 'euler-a' | 'unipc';
export type SpacingName = Discretize | Spacing;

interface Sampler {
  readonly method: SamplingMethod;
  /** name of its spacing among the model's options, where it has one, and the choices */
  readonly spacing?: 'discretize' | 'spacing';
  readonly steps: boolean;
  readonly eta: boolean;
}

const spacings: Readonly<Record<'discretize' | 'spacing', readonly SpacingName[]>> = {
  discretize: ['uniform', 'quad'],
  spacing: ['linspace', 'leading', 'trailing', 'karras', 'logsnr'],
};

const samplers: Readonly<Record<SamplerName, Sampler>> = {
  ddim: { method: 'ddim', spacing: 'discretize', steps: true, eta: true },
  plms: { method: 'plms', spacing: 'discretize', steps: true, eta: false },
  ddpm: { method: 'ddpm', steps: false, eta: false },
  'dpm++': { method: 'dpm-solver++', spacing: 'spacing', steps: true, eta: false },
  euler: { method: 'euler', spacing: 'spacing', steps: true, eta: false },
  'euler-a': { method: 'euler-ancestral', spacing: 'spacing', steps: true, eta: true },
  unipc: { method: 'unipc', spacing: 'spacing', steps: true, eta: false },
};

export const samplerNames = Object.keys(samplers) as SamplerName[];
export const spacingNames = Object.values(spacings).flat();

/** The sampler as the model takes it. @throws UsageError for options that it does not have */
export function samplerOf({
  sampler: name,
  steps,
  eta,
  spacing,
}: Pick<SamplingCommandOptions, 'sampler' | 'steps' | 'eta' | 'spacing'>): Pick<
  SampleOptions,
  'method' | 'steps' | 'eta' | 'discretize' | 'spacing'
> {
  const { method, ...takes } = samplers[name];
  if (steps !== undefined && !takes.steps)
    throw new UsageError(`${name} walks all timesteps of the training: leave --steps out.`);
  if (eta !== undefined && !takes.eta)
    throw new UsageError(`${name} has no --eta; ddim and euler-a do.`);
  if (spacing === undefined) return { method, steps, eta };
  const choices = takes.spacing ? spacings[takes.spacing] : [];
  if (!takes.spacing || !choices.includes(spacing))
    throw new UsageError(
      `${name} has no spacing '${spacing}'${choices.length > 0 ? `: choose one of ${choices.join(', ')}` : ''}.`,
    );
  return { method, steps, eta, [takes.spacing]: spacing };
}
