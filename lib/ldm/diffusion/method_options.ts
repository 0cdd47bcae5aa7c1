// Which sampler has which options. Without the engine, so that commands know it before they load one.
import type { StepNoiseOptions } from '../samplers/sampler.js';

/** How a latent is found; 'ddpm' walks all T timesteps. */
export type SamplingMethod =
  'ddim' | 'plms' | 'ddpm' | 'dpm-solver++' | 'unipc' | 'euler' | 'euler-ancestral';

export const onTable = ['ddim', 'plms'] as const;
export const solvers = ['dpm-solver++', 'unipc', 'euler', 'euler-ancestral'] as const;
const addingNoise = ['ddim', 'ddpm', 'euler-ancestral'] as const;

/** Options that some methods have, and these. */
export const owners: Readonly<
  Record<
    'steps' | 'eta' | 'discretize' | 'spacing' | StepNoiseOptions,
    readonly [SamplingMethod, ...SamplingMethod[]]
  >
> = {
  steps: [...onTable, ...solvers],
  eta: ['ddim', 'euler-ancestral'],
  discretize: onTable,
  spacing: solvers,
  temperature: addingNoise,
  noise: addingNoise,
  noiseDropout: addingNoise,
  repeatNoise: addingNoise,
};

/** Whether a method has an option of those that not all have. */
export const hasOption = (method: SamplingMethod, option: keyof typeof owners): boolean =>
  owners[option].includes(method);
