/** Checks of diffusion configs that come from outside. */
import { check } from '../../errors.js';
import { checkOptions, flag, integer, list, number, oneOf, type Rules } from '../rules.js';
import type { DiffusionConfig } from './gaussian_diffusion.js';
import { makeBetas } from './schedule.js';

const longest = 100_000;

const rules: Rules<Required<DiffusionConfig>> = {
  betaSchedule: oneOf('linear', 'sqrt_linear', 'sqrt', 'cosine'),
  timesteps: integer(1, longest),
  linearStart: number(0, 1),
  linearEnd: number(0, 1),
  cosineS: number(0, 1),
  vPosterior: number(0, 1 + Number.EPSILON),
  givenBetas: list(number(0, 1), 1, longest),
  parameterization: oneOf('eps', 'x0', 'v'),
  lossType: oneOf('l1', 'l2'),
  lSimpleWeight: number(0),
  originalElboWeight: number(0),
  learnLogvar: flag,
  logvarInit: number(-100, 100),
  minSnrGamma: number(0),
};

/** @throws ArgumentError for options that are unknown or out of range, and for β outside (0, 1) */
export function checkDiffusionConfig(config: unknown): asserts config is DiffusionConfig {
  checkOptions<DiffusionConfig>('diffusion', config, rules, []);
  const betas = makeBetas(config);
  const odd = betas.findIndex((beta) => !(beta > 0 && beta < 1));
  check(odd < 0, () => `diffusion: every β must lie in (0, 1). At t = ${odd} it is ${betas[odd]}.`);
}
