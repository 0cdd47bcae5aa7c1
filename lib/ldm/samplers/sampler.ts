/** What the samplers share: their options, the step they yield, noise, masks and running to the end. */
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import type { DType } from '../../dtype.js';
import { check } from '../../errors.js';
import { ge, permute } from '../../ops/index.js';
import { noise, uniformNoise, type NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import { TorchGenerator } from '../../torch_random.js';
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

/**
 * Image to image (SDEdit; the authors' stochastic encoding): the clean latent is noised as far as `strength`
 * says, and only the steps from there on run.
 */
export interface ImageStart {
  /** the clean latent [N, h, w, C] */
  latent: Tensor;
  /** share of the steps that run, in [0, 1]: 0 gives the latent back, 1 keeps next to nothing of it */
  strength: number;
}

/** What only samplers that add noise in their steps take. */
export type StepNoiseOptions = 'temperature' | 'noise' | 'noiseDropout' | 'repeatNoise';

/** Where a run's steps lie in the process, cleanest first. */
export interface StepPlan {
  /** training timesteps, ascending */
  readonly timesteps: ArrayLike<number>;
  /** ᾱ at each of them */
  readonly alphas: ArrayLike<number>;
  /** how many were asked for, where the plan holds more */
  readonly asked?: number;
}

export interface SamplerOptions {
  /** the latent to start from, x_T [N, h, w, C]; default: drawn from `seed`, of the given shape */
  initial?: Tensor;
  shape?: readonly number[];
  /** where a latent of that shape is drawn, default: `defaultDevice()` */
  device?: Device | string;
  /** of all noise that is not given; with one seed per sample its picture does not depend on others */
  seed?: number | readonly number[];
  /**
   * takes that noise from PyTorch's generator instead, as after `torch.manual_seed(torchSeed)`: for the whole batch
   * at once, [N, C, h, w], in the original's order, so that a batch starts and goes on as it does there. Then
   * `seed` decides nothing, and a sample's picture depends on its place in the batch
   */
  torchSeed?: number;
  /** the Gaussian of a step (0 is the first); default: drawn from `seed` */
  noise?: (step: number) => Tensor;
  /** scales the noise of each step, default 1 */
  temperature?: number;
  /** probability with which elements of a step's noise become zero, the others grow; default 0 */
  noiseDropout?: number;
  /** one draw of each step's noise for the whole batch, which then has one seed; default false */
  repeatNoise?: boolean;
  /** replaces each estimate of the clean latent, such as by its nearest codes */
  quantizeX0?: (x0: Tensor) => Tensor;
  /** start from a picture instead of pure noise */
  image?: ImageStart;
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

/** Runs to the end; gives the final latent. `onStep` sees every step; the run ends with what it throws. */
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
    try {
      await onStep?.(value);
    } catch (error) {
      await run.return(value);
      throw error;
    }
  }
}

/**
 * How many steps of a plan run: all, or the cleanest of them when a picture is given, which are as many of those that
 * were asked for as it is changed, ⌊strength · asked⌋.
 */
export function runningSteps(
  planned: number,
  image: Pick<ImageStart, 'strength'> | undefined,
  asked = planned,
): number {
  if (!image) return planned;
  const { strength } = image;
  check(strength >= 0 && strength <= 1, () => {
    return `sampler: the strength of image-to-image must lie in [0, 1]. Got ${strength}.`;
  });
  return Math.floor(strength * asked);
}

// streams of the seed; `step` numbers the draws within each
const streams = { initial: 0, steps: 1, mask: 2, dropout: 3 } as const;

/** The noise of a run: what the options give, else a function of their seed. */
export class RunNoise {
  readonly #torch: TorchGenerator | null;

  constructor(readonly options: SamplerOptions) {
    const { torchSeed, noiseDropout = 0 } = options;
    this.#torch = torchSeed === undefined ? null : new TorchGenerator(torchSeed);
    check(!this.#torch || noiseDropout === 0, () => {
      return 'sampler: noiseDropout is not drawn as PyTorch draws it: give a seed, not torchSeed.';
    });
  }

  /** The latent to start from, which the run may dispose. */
  initial(plan: StepPlan, steps: number): Tensor {
    const { initial, shape, image, device } = this.options;
    if (initial) return initial.detach();
    if (image) {
      if (steps === 0) return image.latent.detach();
      // one step noisier than the first that runs, where there is one, as the authors' code has it
      const alphaBar = plan.alphas[Math.min(steps, plan.alphas.length - 1)];
      return atLevel(image.latent, alphaBar, this.#draw('initial', 0, image.latent));
    }
    if (!shape)
      throw new TypeError(
        'sampler: give the latent to start from (initial), its shape, or a picture (image).',
      );
    return this.#draw('initial', 0, { shape, device });
  }

  /** The noise that a step adds, scaled by the temperature. */
  step(step: number, like: Tensor): Tensor {
    const { noise: given, temperature = 1, noiseDropout = 0, repeatNoise } = this.options;
    const seeds = [this.options.seed].flat();
    check(!repeatNoise || seeds.length === 1, () => {
      return `sampler: repeatNoise draws for the whole batch, so give one seed. Got ${seeds.length}.`;
    });
    const drawn = given?.(step) ?? this.#stepNoise(step, like);
    const scaled = temperature === 1 ? drawn : drawn.mul(temperature);
    if (noiseDropout === 0) return scaled;
    check(noiseDropout > 0 && noiseDropout < 1, () => {
      return `sampler: noiseDropout must lie in [0, 1). Got ${noiseDropout}.`;
    });
    const chance = uniformNoise(drawn.shape, {
      ...this.#key('dropout', step),
      device: like.device,
    });
    return scaled.mul(ge(chance, noiseDropout).to(like.dtype)).div(1 - noiseDropout);
  }

  mask(step: number, like: Tensor): Tensor {
    return this.options.mask?.noise?.(step) ?? this.#draw('mask', step, like);
  }

  /** Where the original draws noise that has no effect, PyTorch's sequence must move on as well. */
  unused(like: Tensor): void {
    if (this.#torch && !this.options.noise) this.#stepNoise(0, like);
  }

  #stepNoise(step: number, like: Tensor): Tensor {
    return this.#draw('steps', step, this.options.repeatNoise ? like.narrow(0, 0, 1) : like);
  }

  #draw(
    stream: keyof typeof streams,
    step: number,
    {
      shape,
      dtype,
      device,
    }: Pick<SamplerOptions, 'device'> & { shape: readonly number[]; dtype?: DType },
  ): Tensor {
    if (!this.#torch) return noise(shape, { ...this.#key(stream, step), dtype, device });
    const [N, h, w, C] = shape;
    const drawn = permute(this.#torch.randn([N, C, h, w], { device }), [0, 2, 3, 1]); // [N, h, w, C]
    return dtype ? drawn.to(dtype) : drawn;
  }

  #key(stream: keyof typeof streams, step: number): NoiseOptions {
    const { seed } = this.options;
    if (seed === undefined) throw new TypeError('sampler: give a seed, or the noise itself.');
    return { seed, stream: streams[stream], step };
  }
}

/** The same timestep for every sample of a batch: int64 [N], or float32 where it is no whole number. */
export function timesteps(latent: Tensor, t: number): Tensor {
  const { device } = latent;
  const count = latent.shape[0];
  if (!Number.isInteger(t)) return tensor(new Float32Array(count).fill(t), { device });
  return tensor(new BigInt64Array(count).fill(BigInt(t)), { device });
}

/** keep·known + (1 - keep)·free, the known latent at noise level ᾱ. */
export function blend(mask: LatentMask, free: Tensor, alphaBar: number, noise: Tensor): Tensor {
  const level = atLevel(mask.known, alphaBar, noise);
  return level.mul(mask.keep).add(free.mul(mask.keep.neg().add(1)));
}

/** √ᾱ x_0 + √(1-ᾱ) ε */
function atLevel(x0: Tensor, alphaBar: number, noise: Tensor): Tensor {
  return x0.mul(Math.sqrt(alphaBar)).add(noise.mul(Math.sqrt(1 - alphaBar)));
}

/** What a network's output says of noise and clean latent. */
export interface Prediction {
  eps: Tensor;
  x0: Tensor;
}

/** ε and x_0 = (x - √(1-ᾱ) ε) / √ᾱ from what the network gives at noise level ᾱ. */
export function predictions(
  output: Tensor,
  x: Tensor,
  alphaBar: number,
  { parameterization = 'eps', quantizeX0 }: SamplerOptions,
): Prediction {
  const signal = Math.sqrt(alphaBar);
  const level = Math.sqrt(1 - alphaBar);
  const plain = (): Prediction => {
    switch (parameterization) {
      case 'x0':
        return { x0: output, eps: x.sub(output.mul(signal)).div(level) };
      case 'v':
        return {
          x0: x.mul(signal).sub(output.mul(level)),
          eps: x.mul(level).add(output.mul(signal)),
        };
      case 'eps':
        return { eps: output, x0: x.sub(output.mul(level)).div(signal) };
    }
  };
  const { eps, x0 } = plain();
  return { eps, x0: quantizeX0 ? quantizeX0(x0) : x0 };
}

/** Lets timers, signals and input of the process have their turn between steps. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
