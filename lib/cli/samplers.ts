// The samplers of `emulsion sample` by their names there, and which options each takes.
import { hasOption } from '../ldm/diffusion/method_options.js';
import type { Discretize, SampleOptions, SamplingMethod, Spacing } from '../ldm/index.js';
import { UsageError } from './run.js';
import type { SamplingCommandOptions } from './sampling_options.js';

export type SamplerName = 'ddim' | 'plms' | 'ddpm' | 'dpm++' | 'euler' | 'euler-a' | 'unipc';
export type SpacingName = Discretize | Spacing;

const spacings: Readonly<Record<'discretize' | 'spacing', readonly SpacingName[]>> = {
  discretize: ['uniform', 'quad'],
  spacing: ['linspace', 'leading', 'trailing', 'karras', 'logsnr'],
};

const samplers: Readonly<Record<SamplerName, SamplingMethod>> = {
  ddim: 'ddim',
  plms: 'plms',
  ddpm: 'ddpm',
  'dpm++': 'dpm-solver++',
  euler: 'euler',
  'euler-a': 'euler-ancestral',
  unipc: 'unipc',
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
  const method = samplers[name];
  if (steps !== undefined && !hasOption(method, 'steps'))
    throw new UsageError(`${name} walks all timesteps of the training: leave --steps out.`);
  if (eta !== undefined && !hasOption(method, 'eta'))
    throw new UsageError(`${name} has no --eta; ddim and euler-a do.`);
  if (spacing === undefined) return { method, steps, eta };
  // its name among the model's options, where it has one
  const own = (['discretize', 'spacing'] as const).find((option) => hasOption(method, option));
  const choices = own ? spacings[own] : [];
  if (!own || !choices.includes(spacing))
    throw new UsageError(
      `${name} has no spacing '${spacing}'${choices.length > 0 ? `: choose one of ${choices.join(', ')}` : ''}.`,
    );
  return { method, steps, eta, [own]: spacing };
}
