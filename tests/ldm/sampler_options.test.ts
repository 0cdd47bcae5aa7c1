// What samplers are told: nothing unknown, nothing out of range, nothing that the method does not have.
import { describe, expect, it } from 'vitest';
import {
  ArgumentError,
  ddim,
  ddimSchedule,
  ddimTimesteps,
  ddpm,
  dpmSolverPlusPlus,
  euler,
  eulerAncestral,
  GaussianDiffusion,
  plms,
  samplingSteps,
  solverGrid,
  unipc,
  type Discretize,
  type SampleOptions,
  type SamplingMethod,
  type Spacing,
} from '../../lib/index.js';
import { int64, plainSpec, samplingMethods, tinySpec, withModel } from './tiny_diffusion.js';

const diffusion = new GaussianDiffusion({ timesteps: 20 });
const { schedule } = diffusion;
const start = { shape: [1, 2, 2, 1], seed: 1, steps: 4 };

describe('a sampler refuses', () => {
  it.each<[string, object, string]>([
    ['a spacing it does not know', { discretize: 'quat' }, 'Got "quat". Did you mean \'quad\'?'],
    ['less than no noise', { eta: -1 }, 'ddim: eta must be a number, at least 0. Got -1.'],
    ['noise that is no number', { eta: NaN }, 'Got NaN'],
    ['a temperature that is none', { temperature: NaN }, 'temperature must be a number'],
    [
      'a share of noise that is none',
      { noiseDropout: 1 },
      'noiseDropout must be a number in [0, 1',
    ],
    [
      'a prediction it does not know',
      { parameterization: 'epsilon' },
      'parameterization must be one of eps, x0, v. Got "epsilon".',
    ],
    ['what it does not have', { ete: 1 }, "ddim: unknown option 'ete'. Did you mean 'eta'?"],
    ['a mask without tensors', { mask: {} }, 'mask must be an object with keep and known'],
    ['a seed that is no number', { seed: '7' }, 'seed must be a whole number'],
  ])('%s', (_, options, message) => {
    const run = () => ddim((x) => x, schedule, { ...start, ...options });
    expect(run).toThrow(ArgumentError);
    expect(run).toThrow(message);
  });

  it.each([plms, dpmSolverPlusPlus, unipc, euler])('noise of its own, as $name', (sampler) => {
    const options = { ...start, eta: 1 };
    expect(() => sampler((x) => x, schedule, options)).toThrow("unknown option 'eta'");
  });

  it('an unknown option, as the others do', () => {
    const { steps: _, ...rest } = start;
    const ancestral = { ...start, spacing: 'linear' as Spacing };
    expect(() => eulerAncestral((x) => x, schedule, ancestral)).toThrow('spacing must be one of');
    const clipping = { ...rest, clip: true };
    expect(() => ddpm((x) => x, diffusion, clipping)).toThrow("ddpm: unknown option 'clip'");
  });

  it('what its tables would be made of', () => {
    const discretize = 'quat' as Discretize;
    expect(() => ddimTimesteps(discretize, 4, 20)).toThrow("Did you mean 'quad'?");
    expect(() => ddimSchedule(schedule, { steps: 4, eta: NaN })).toThrow('eta must be');
    const options = { steps: 4, spacing: 'traling' as Spacing };
    expect(() => solverGrid(schedule, options)).toThrow("Did you mean 'trailing'?");
  });
});

describe('a model refuses', () => {
  const refused = async (options: object, message: string) =>
    withModel(tinySpec({ diffusion: { timesteps: 20 } }), async (model) => {
      const condition = int64(1);
      const told = { condition, seed: 1, decode: false, ...options } as SampleOptions;
      await expect(model.sample(told)).rejects.toThrow(message);
    });

  it.each<[object, string]>([
    [
      { guidence: 3 },
      "LatentDiffusion.sample: unknown option 'guidence'. Did you mean 'guidance'?",
    ],
    [{ guidance: NaN }, 'guidance must be a finite number. Got NaN.'],
    [{ method: 'dpm-solver' }, "Did you mean 'dpm-solver++'?"],
    [{ count: 0 }, 'count must be'],
    [{ size: [8] }, 'size must be a list of 2 to 2 entries'],
    [{ seed: 0.5 }, 'seed must be'],
    [{ parameterization: 'v' }, "unknown option 'parameterization'"],
    [
      { method: 'dpm-solver++', eta: 1 },
      "the method dpm-solver++ has no option 'eta': leave it out. Those that have: ddim, euler-ancestral.",
    ],
    [{ method: 'unipc', discretize: 'quad' }, 'Those that have: ddim, plms.'],
    [
      { method: 'ddpm', steps: 5 },
      "ddpm has no option 'steps': leave it out. It walks all timesteps.",
    ],
    [{ spacing: 'karras' }, 'Those that have: dpm-solver++, unipc, euler, euler-ancestral.'],
    [{ method: 'plms', temperature: 0.9 }, 'Those that have: ddim, ddpm, euler-ancestral.'],
  ])('%j', refused);
});

describe('steps', () => {
  it.each(samplingMethods)('%s takes what a short schedule has', (method) =>
    withModel(plainSpec({ diffusion: { timesteps: 6 } }), async (model) => {
      const solves = !['ddim', 'plms', 'ddpm'].includes(method);
      let taken = 0;
      await model.sample({ method, seed: 1, decode: false, onStep: () => void taken++ });
      // evenly spread solvers never visit timestep 0
      expect(taken).toBe(solves ? 5 : 6);
      expect(samplingSteps(6, { method })).toEqual({ asked: taken, taken });
    }),
  );

  it.each<[SamplingMethod, object, number, number]>([
    ['ddim', {}, 50, 50],
    ['ddim', { steps: 400 }, 400, 500],
    ['ddim', { steps: 400, discretize: 'quad' }, 400, 400],
    ['ddim', { steps: 400, image: { strength: 0.5 } }, 400, 200],
    ['ddim', { steps: 30, image: { strength: 0.75 } }, 30, 22],
    ['plms', { steps: 30, image: { strength: 1 } }, 30, 30],
    ['plms', { steps: 30 }, 30, 31],
    ['ddpm', {}, 1000, 1000],
    ['unipc', { steps: 400, spacing: 'trailing' }, 400, 400],
  ])('%s with %j of 1000 timesteps: %i asked, %i taken', (method, options, asked, taken) => {
    expect(samplingSteps(1000, { method, ...options })).toEqual({ asked, taken });
  });
});
