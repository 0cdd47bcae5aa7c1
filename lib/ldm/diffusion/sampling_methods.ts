/** The methods that find a latent: which options each has, and how many steps it comes to. */
import { ArgumentError } from '../../errors.js';
import {
  callable,
  checkOptions,
  finite,
  flag,
  group,
  integer,
  list,
  number,
  oneOf,
  type Rules,
} from '../rules.js';
import { ddimTimesteps } from '../samplers/ddim_schedule.js';
import {
  discretizations,
  samplerRules,
  spacings,
  stepCount,
  stepNoiseRules,
} from '../samplers/rules.js';
import { runningSteps, type ImageStart } from '../samplers/sampler.js';
import { mostSteps } from '../samplers/solver_grid.js';
import type { SampleOptions } from './latent_sampling.js';
import { onTable, owners, solvers } from './method_options.js';

// What the model itself decides.
const { shape: _, device: __, parameterization: ___, ...told } = samplerRules;

const rules: Rules<Required<SampleOptions>> = {
  ...told,
  ...stepNoiseRules,
  method: oneOf(...onTable, 'ddpm', ...solvers),
  steps: stepCount,
  eta: number(0),
  discretize: discretizations,
  spacing: spacings,
  count: integer(1, 2 ** 24),
  size: list(integer(1, 2 ** 20), 2, 2),
  condition: group,
  conditioning: group,
  guidance: finite,
  unconditional: group,
  unconditionalConditioning: group,
  classifier: group,
  patches: group,
  quantizeX0: flag,
  capture: flag,
  decode: flag,
  decodeBatch: integer(1, 2 ** 24),
  onStep: callable,
};

/** @throws ArgumentError for options that are unknown, out of range, or none of the method's */
export function checkSampleOptions(options: SampleOptions): void {
  const what = 'LatentDiffusion.sample';
  checkOptions<SampleOptions>(what, options, rules, []);
  const { method = 'ddim' } = options;
  for (const [option, methods] of Object.entries(owners)) {
    if (options[option as keyof typeof owners] === undefined || methods.includes(method)) continue;
    throw new ArgumentError(
      `${what}: the method ${method} has no option '${option}': leave it out. ` +
        (option === 'steps'
          ? 'It walks all timesteps.'
          : `Those that have: ${methods.join(', ')}.`),
    );
  }
}

/** What is asked of a method, where it takes that. */
export interface SamplingStepOptions extends Pick<
  SampleOptions,
  'method' | 'steps' | 'discretize' | 'spacing'
> {
  image?: Pick<ImageStart, 'strength'>;
}

/**
 * How many steps a method is asked for, and how many it takes: more with `uniform` where they do not divide T, less
 * where a picture is given. PLMS calls the network once more, all others once a step.
 *
 * @param usual steps that nobody asked for, or as many as a shorter schedule has. Default 50
 */
export function samplingSteps(
  timesteps: number,
  { method = 'ddim', steps, discretize = 'uniform', spacing, image }: SamplingStepOptions,
  usual = 50,
): { asked: number; taken: number } {
  const isOnTable = owners.discretize.includes(method);
  const most = isOnTable ? timesteps : mostSteps(timesteps, spacing);
  const asked = method === 'ddpm' ? timesteps : (steps ?? Math.min(usual, most));
  const planned = isOnTable ? ddimTimesteps(discretize, asked, timesteps).length : asked;
  return { asked, taken: runningSteps(planned, image, asked) };
}
