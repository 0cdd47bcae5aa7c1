// diffusers' configurations of schedulers, the published ones as that library's files have them.
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  diffusersSchedulers,
  fromDiffusersScheduler,
  makeBetas,
  toDiffusersScheduler,
  type DiffusersScheduler,
  type DiffusionConfig,
} from '../../../lib/index.js';

const processes: Record<string, DiffusionConfig> = {
  published: { linearStart: 0.0015, linearEnd: 0.0195 },
  'linear in β': { betaSchedule: 'sqrt_linear', linearStart: 1e-4, linearEnd: 0.02, timesteps: 50 },
  cosine: { betaSchedule: 'cosine', timesteps: 100, parameterization: 'v' },
  'given β': { givenBetas: [0.1, 0.2, 0.3], parameterization: 'x0' },
};

describe.each(diffusersSchedulers)('%s', (className) => {
  test.each(Object.entries(processes))('%s: comes back as it was', (_, diffusion) => {
    const alphas = className === 'DDIMScheduler' || className === 'PNDMScheduler';
    const clips = className === 'DDIMScheduler' || className === 'DDPMScheduler';
    const scheduler: DiffusersScheduler = {
      className,
      diffusion,
      timestepSpacing: 'trailing',
      stepsOffset: 3,
      setAlphaToOne: alphas,
      clipSample: clips,
    };
    const config = JSON.parse(JSON.stringify(toDiffusersScheduler(scheduler))) as object;
    expect(fromDiffusersScheduler(config as Record<string, unknown>)).toEqual(scheduler);
    expect('set_alpha_to_one' in config).toBe(alphas);
    expect('clip_sample' in config).toBe(clips);
  });
});

test("Stable Diffusion's scheduler, and the one written for a model of the paper", () => {
  const stableDiffusion = {
    _class_name: 'PNDMScheduler',
    _diffusers_version: '0.6.0',
    beta_end: 0.012,
    beta_schedule: 'scaled_linear',
    beta_start: 0.00085,
    clip_sample: false,
    num_train_timesteps: 1000,
    set_alpha_to_one: false,
    skip_prk_steps: true,
    steps_offset: 1,
    trained_betas: null,
  };
  expect(fromDiffusersScheduler(stableDiffusion)).toEqual({
    className: 'PNDMScheduler',
    diffusion: { linearStart: 0.00085, linearEnd: 0.012 },
    timestepSpacing: 'leading',
    stepsOffset: 1,
    setAlphaToOne: false,
    clipSample: false,
  });
  expect(toDiffusersScheduler({ diffusion: processes.published })).toEqual({
    _class_name: 'DDIMScheduler',
    beta_end: 0.0195,
    beta_schedule: 'scaled_linear',
    beta_start: 0.0015,
    clip_sample: false,
    num_train_timesteps: 1000,
    prediction_type: 'epsilon',
    set_alpha_to_one: false,
    steps_offset: 1,
    timestep_spacing: 'leading',
    trained_betas: null,
  });
});

test('what files leave out is what the constructors take', () => {
  const byDefault = (name: string) => fromDiffusersScheduler({ _class_name: name });
  expect(byDefault('DDIMScheduler')).toEqual({
    className: 'DDIMScheduler',
    diffusion: { betaSchedule: 'sqrt_linear', linearStart: 1e-4, linearEnd: 0.02 },
    timestepSpacing: 'leading',
    stepsOffset: 0,
    setAlphaToOne: true,
    clipSample: true,
  });
  expect(byDefault('PNDMScheduler')).toMatchObject({ setAlphaToOne: false, clipSample: false });
  expect(byDefault('EulerDiscreteScheduler').timestepSpacing).toBe('linspace');
});

test.each<DiffusionConfig>([
  { betaSchedule: 'sqrt', timesteps: 20, linearStart: 0.01, linearEnd: 0.02 },
  { betaSchedule: 'cosine', timesteps: 20, cosineS: 0.1 },
])('a schedule that diffusers has no name for is written out: %j', (diffusion) => {
  const { diffusion: back } = fromDiffusersScheduler(toDiffusersScheduler({ diffusion }));
  expect(back.givenBetas).toEqual([...makeBetas(diffusion)]);
});

test.each<[Record<string, unknown>, RegExp]>([
  [{ _class_name: 'FlowMatchEulerDiscreteScheduler' }, /_class_name must be one of DDIMScheduler/],
  [{ beta_schedule: 'sigmoid' }, /beta_schedule must be one of scaled_linear, linear, squared/],
  [{ prediction_type: 'flow_prediction' }, /prediction_type must be one of epsilon, sample, v_/],
  [{ rescale_betas_zero_snr: true }, /rescale_betas_zero_snr must be false/],
  [{ variance_type: 'learned_range' }, /variance_type must be one of fixed_small/],
  [{ trained_betas: [0.1, 0.2] }, /1000 num_train_timesteps need as many trained_betas\. Got 2/],
  [{ beta_end: 0 }, /every β must lie in \(0, 1\)/],
  [{ num_train_timesteps: 1e9 }, /num_train_timesteps must be an integer/],
  [{ beta_schedul: 'linear' }, /unknown option 'beta_schedul'/],
])('%j is refused by name', (change, message) => {
  const read = () => fromDiffusersScheduler({ _class_name: 'DDIMScheduler', ...change });
  expect(read).toThrow(ArgumentError);
  expect(read).toThrow(message);
});

test('a posterior variance of its own is refused', () => {
  expect(() => toDiffusersScheduler({ diffusion: { vPosterior: 0.5 } })).toThrow(/vPosterior/);
});
