/** Checks of what samplers are told: each has these rules, and those of its own options. */
import { Tensor } from '../../tensor.js';
import {
  aTensor,
  callable,
  either,
  flag,
  group,
  integer,
  list,
  number,
  oneOf,
  type Rule,
  type Rules,
} from '../rules.js';
import type { SamplerOptions, StepNoiseOptions } from './sampler.js';

export const discretizations = oneOf('uniform', 'quad');
export const spacings = oneOf('linspace', 'leading', 'trailing', 'karras', 'logsnr');

/** Of how many timesteps is for the schedule to say. */
export const stepCount = integer(1, 100_000);

export const seedRule: Rule = { expected: 'a whole number', accepts: Number.isSafeInteger };

const holding = (...names: readonly string[]): Rule => ({
  expected: `an object with ${names.join(' and ')} as tensors`,
  accepts: (value) =>
    group.accepts(value) &&
    names.every((name) => (value as Record<string, unknown>)[name] instanceof Tensor),
});

/** What all samplers take. */
export const samplerRules: Rules<Required<Omit<SamplerOptions, StepNoiseOptions>>> = {
  initial: aTensor,
  shape: list(integer(0, 2 ** 32), 1, 8),
  device: either({ expected: 'a name', accepts: (value) => typeof value === 'string' }, group),
  seed: either(seedRule, list(seedRule, 0, 2 ** 24)),
  torchSeed: seedRule,
  quantizeX0: callable,
  image: holding('latent'),
  mask: holding('keep', 'known'),
  parameterization: oneOf('eps', 'x0', 'v'),
  signal: group,
};

/** And those do that add noise in their steps. */
export const stepNoiseRules: Rules<Required<Pick<SamplerOptions, StepNoiseOptions>>> = {
  temperature: number(0),
  noise: callable,
  noiseDropout: number(0, 1),
  repeatNoise: flag,
};
