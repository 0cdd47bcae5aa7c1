/**
 * `scheduler_config.json` of the diffusers library. Its schedulers tell the noise schedule and what the
 * network predicts, which belong to the model here, and how to sample.
 */
import { check } from '../../errors.js';
import { anything, diffusersClass, diffusersOptions, only, orNull } from '../diffusers_rules.js';
import { flag, integer, list, number, oneOf, type Rule, type Rules } from '../rules.js';
import type { DiffusionConfig, Parameterization } from './gaussian_diffusion.js';
import { checkDiffusionConfig } from './rules.js';
import { makeBetas, type BetaSchedule } from './schedule.js';

/** The classes of schedulers that are known. */
export const diffusersSchedulers = [
  'DDIMScheduler',
  'DDPMScheduler',
  'PNDMScheduler',
  'LMSDiscreteScheduler',
  'EulerDiscreteScheduler',
  'EulerAncestralDiscreteScheduler',
  'DPMSolverMultistepScheduler',
  'UniPCMultistepScheduler',
] as const;

export type DiffusersSchedulerClass = (typeof diffusersSchedulers)[number];

/** How timesteps are chosen from those of training. */
export type TimestepSpacing = 'leading' | 'linspace' | 'trailing';

/** What a scheduler says of the process, and of sampling. */
export interface DiffusersScheduler {
  readonly className: DiffusersSchedulerClass;
  readonly diffusion: DiffusionConfig;
  readonly timestepSpacing: TimestepSpacing;
  /** added to every timestep */
  readonly stepsOffset: number;
  /** ᾱ after the last step: 1, or as here that of t = 0. Of DDIM and PNDM alone */
  readonly setAlphaToOne: boolean;
  /** whether estimates of x_0 are clamped to [-1, 1]. Of DDIM and DDPM alone */
  readonly clipSample: boolean;
}

interface SchedulerOptions {
  num_train_timesteps: number;
  beta_start: number;
  beta_end: number;
  beta_schedule: string;
  trained_betas: readonly number[] | null;
  prediction_type: string;
  timestep_spacing: string;
  steps_offset: number;
  set_alpha_to_one: boolean;
  clip_sample: boolean;
}

const schedules: Readonly<Record<string, BetaSchedule>> = {
  scaled_linear: 'linear',
  linear: 'sqrt_linear',
  squaredcos_cap_v2: 'cosine',
};
const predictions: Readonly<Record<string, Parameterization>> = {
  epsilon: 'eps',
  sample: 'x0',
  v_prediction: 'v',
};
const nameOf = (names: Readonly<Record<string, string>>, value: string) =>
  Object.keys(names).find((name) => names[name] === value);

/** s of diffusers' cosine schedule. */
const cosineS = 8e-3;

const longest = 100_000;
const beta = number(0, 1);

// Options of how to sample, which concern no model.
const samplingOptions = [
  'algorithm_type',
  'clip_sample_range',
  'disable_corrector',
  'dynamic_thresholding_ratio',
  'euler_at_final',
  'final_sigmas_type',
  'flow_shift',
  'interpolation_type',
  'lambda_min_clipped',
  'lower_order_final',
  'predict_x0',
  'sample_max_value',
  'shift_terminal',
  'sigma_max',
  'sigma_min',
  'skip_prk_steps',
  'solver_order',
  'solver_p',
  'solver_type',
  'tensor_format',
  'thresholding',
  'time_shift_type',
  'timestep_type',
  'timestep_values',
  'use_beta_sigmas',
  'use_exponential_sigmas',
  'use_karras_sigmas',
  'use_lu_lambdas',
] as const;

// One table for all classes: files are handed from one to another, and keep what the last does not know.
const rules: Rules<SchedulerOptions> & Readonly<Record<string, Rule>> = {
  num_train_timesteps: integer(1, longest),
  beta_start: beta,
  beta_end: beta,
  beta_schedule: oneOf(...Object.keys(schedules)),
  trained_betas: orNull(list(beta, 1, longest)),
  prediction_type: oneOf(...Object.keys(predictions)),
  timestep_spacing: oneOf('leading', 'linspace', 'trailing'),
  steps_offset: integer(0, longest),
  set_alpha_to_one: flag,
  clip_sample: flag,
  rescale_betas_zero_snr: only(false, 'the original ends before all is noise'),
  use_dynamic_shifting: only(false, 'such noise is of another process (flow matching)'),
  use_flow_sigmas: only(false, 'such noise is of another process (flow matching)'),
  variance_type: orNull(oneOf('fixed_small', 'fixed_small_log', 'fixed_large', 'fixed_large_log')),
  ...Object.fromEntries(samplingOptions.map((name) => [name, anything])),
};

// What their constructors take for options that a file leaves out.
function defaultsOf(className: DiffusersSchedulerClass): SchedulerOptions {
  const ancestral = className === 'DDIMScheduler' || className === 'DDPMScheduler';
  return {
    num_train_timesteps: 1000,
    beta_start: 1e-4,
    beta_end: 2e-2,
    beta_schedule: 'linear',
    trained_betas: null,
    prediction_type: 'epsilon',
    timestep_spacing: ancestral || className === 'PNDMScheduler' ? 'leading' : 'linspace',
    steps_offset: 0,
    set_alpha_to_one: className === 'DDIMScheduler',
    clip_sample: ancestral,
  };
}

/**
 * Reads diffusers' configuration of a scheduler.
 *
 * @throws ArgumentError that names what is wrong, or what has no counterpart here
 */
export function fromDiffusersScheduler(
  config: Readonly<Record<string, unknown>>,
): DiffusersScheduler {
  const className = diffusersClass(config, diffusersSchedulers);
  const options = diffusersOptions(config, rules, defaultsOf(className));
  const { num_train_timesteps: timesteps, trained_betas: givenBetas } = options;
  check(givenBetas === null || givenBetas.length === timesteps, () => {
    return `diffusers: ${timesteps} num_train_timesteps need as many trained_betas. Got ${givenBetas!.length}.`;
  });
  const parameterization = predictions[options.prediction_type];
  const diffusion: DiffusionConfig = {
    ...(givenBetas === null ? formulaOf(options) : { givenBetas }),
    ...(parameterization !== 'eps' && { parameterization }),
  };
  checkDiffusionConfig(diffusion);
  return {
    className,
    diffusion,
    timestepSpacing: options.timestep_spacing as TimestepSpacing,
    stepsOffset: options.steps_offset,
    setAlphaToOne: options.set_alpha_to_one,
    clipSample: options.clip_sample,
  };
}

function formulaOf(options: SchedulerOptions): DiffusionConfig {
  const { num_train_timesteps: timesteps, beta_start, beta_end } = options;
  const betaSchedule = schedules[options.beta_schedule];
  return {
    ...(betaSchedule !== 'linear' && { betaSchedule }),
    ...(timesteps !== 1000 && { timesteps }),
    ...(betaSchedule !== 'cosine' && { linearStart: beta_start, linearEnd: beta_end }),
  };
}

/**
 * diffusers' configuration of a scheduler. What concerns training alone has no place there, and a noise
 * schedule that diffusers has no name for is written out.
 *
 * @param scheduler by default a DDIMScheduler which visits the timesteps that the original's visits
 * @throws ArgumentError that names the option which diffusers' schedulers lack
 */
export function toDiffusersScheduler({
  className = 'DDIMScheduler',
  diffusion,
  timestepSpacing = 'leading',
  stepsOffset = 1,
  setAlphaToOne = false,
  clipSample = false,
}: Partial<DiffusersScheduler> & Pick<DiffusersScheduler, 'diffusion'>): Record<string, unknown> {
  checkDiffusionConfig(diffusion);
  const { betaSchedule = 'linear', linearStart = 1e-4, linearEnd = 2e-2 } = diffusion;
  const { vPosterior = 0, parameterization = 'eps' } = diffusion;
  check(vPosterior === 0, () => {
    return 'diffusers: its schedulers have no counterpart of vPosterior, so this model cannot be converted.';
  });
  const betas = makeBetas(diffusion);
  const ownCosine = betaSchedule === 'cosine' && (diffusion.cosineS ?? cosineS) !== cosineS;
  const name = diffusion.givenBetas || ownCosine ? undefined : nameOf(schedules, betaSchedule);
  const stepwise = className === 'DDIMScheduler' || className === 'DDPMScheduler';
  return {
    _class_name: className,
    beta_end: linearEnd,
    beta_schedule: name ?? 'linear',
    beta_start: linearStart,
    num_train_timesteps: betas.length,
    prediction_type: nameOf(predictions, parameterization),
    steps_offset: stepsOffset,
    timestep_spacing: timestepSpacing,
    trained_betas: name === undefined ? [...betas] : null,
    ...(stepwise && { clip_sample: clipSample }),
    ...(className === 'PNDMScheduler' && { skip_prk_steps: true }),
    ...((className === 'DDIMScheduler' || className === 'PNDMScheduler') && {
      set_alpha_to_one: setAlphaToOne,
    }),
  };
}
