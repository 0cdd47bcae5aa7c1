/** What the samplers share: their options, the step they yield, noise, masks and running to the end. */
import { tensor } from '../../creation.js';
import { noise, type NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import type { Parameterization } from '../diffusion/gaussian_diffusion.js';

/** Keeps a part of a known latent: everything else is made to fit it. */
export interface LatentMask {
  /** [N, h, w, 1] or [N, h, w, C]: 1 keeps the known latent, 0 is free */
  keep: Tensor;
  /** the known clean latent [N, h, w, C] */
  known: Tensor;
  /** Gaussian noise that brings the known latent to the level of a step; default: drawn from `seed` */
  noise?: (step: number) => Tensor;
}

export interface SamplerOptions {
  /** the latent to start from, x_T [N, h, w, C]; default: drawn from `seed`, of the given shape */
  initial?: Tensor;
  shape?: readonly number[];
  /** of all noise that is not given; with one seed per sample its picture does not depend on others */
  seed?: number | readonly number[];
  /** the Gaussian of a step (0 is the first); default: drawn from `seed` */
  noise?: (step: number) => Tensor;
  /** scales the noise of each step, default 1 */
  temperature?: number;
  mask?: LatentMask;
  /** what the network predicts, default 'eps' */
  parameterization?: Parameterization;
  /** stops before the next step with the signal's reason */
  signal?: AbortSignal;
}

/**
 * A finished step. Its tensors live until the next step is asked for; those of the last step belong to
 * the caller.
 */
export interface SamplerStep {
  /** 0 is the first and noisiest */
  step: number;
  /** number of steps */
  steps: number;
  /** the training timestep that was denoised */
  timestep: number;
  latent: Tensor;
  /** the clean latent as estimated in this step */
  predX0: Tensor;
}

/** A run of a sampler, and its last step as its value. */
export type SamplerRun = AsyncGenerator<SamplerStep, SamplerStep, void>;

/** Runs to the end; gives the final latent. `onStep` sees every step. */
export async function lastLatent(
  run: SamplerRun,
  onStep?: (step: SamplerStep) => void | Promise<void>,
): Promise<Tensor> {
  for (;;) {
    const { done, value } = await run.next();
    if (done) {
      value.predX0.dispose();
      return value.latent;
    }
    await onStep?.(value);
  }
}

// streams of the seed; `step` numbers the draws within each
const streams = { initial: 0, steps: 1, mask: 2 } as const;

/** The noise of a run: what the options give, else a function of their seed. */
export class RunNoise {
  constructor(readonly options: SamplerOptions) {}

  /** The latent to start from, which the run may dispose. */
  initial(): Tensor {
    const { initial, shape } = this.options;
    if (initial) return initial.detach();
    if (!shape)
      throw new TypeError('sampler: give the latent to start from (initial) or its shape.');
    return noise(shape, this.#key('initial', 0));
  }

  step(step: number, like: Tensor): Tensor {
    return this.options.noise?.(step) ?? this.#draw('steps', step, like);
  }

  mask(step: number, like: Tensor): Tensor {
    return this.options.mask?.noise?.(step) ?? this.#draw('mask', step, like);
  }

  #draw(stream: keyof typeof streams, step: number, like: Tensor): Tensor {
    return noise(like.shape, {
      ...this.#key(stream, step),
      dtype: like.dtype,
      device: like.device,
    });
  }

  #key(stream: keyof typeof streams, step: number): NoiseOptions {
    const { seed } = this.options;
    if (seed === undefined) throw new TypeError('sampler: give a seed, or the noise itself.');
    return { seed, stream: streams[stream], step };
  }
}

/** The same timestep for every sample of a batch: int64 [N]. */
export function timesteps(latent: Tensor, t: number): Tensor {
  const ids = new BigInt64Array(latent.shape[0]).fill(BigInt(t));
  return tensor(ids, { device: latent.device });
}

/** keep·known + (1 - keep)·free, the known latent at noise level ᾱ. */
export function blend(mask: LatentMask, free: Tensor, alphaBar: number, noise: Tensor): Tensor {
  const level = mask.known.mul(Math.sqrt(alphaBar)).add(noise.mul(Math.sqrt(1 - alphaBar)));
  return level.mul(mask.keep).add(free.mul(mask.keep.neg().add(1)));
}

/** Lets timers, signals and input of the process have their turn between steps. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
