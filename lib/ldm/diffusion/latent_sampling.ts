/** Sampling a latent diffusion model: conditioning, guidance, sampler and decoder in one call. */
import { noGrad } from '../../autograd/index.js';
import { check, checkShape } from '../../errors.js';
import { concat } from '../../ops/index.js';
import { tensorsIn, tidy } from '../../scope.js';
import { Tensor } from '../../tensor.js';
import type { ConditionInput } from '../conditioning/index.js';
import { PreparedContext } from '../unet/index.js';
import {
  ddim,
  ddpm,
  dpmSolverPlusPlus,
  euler,
  eulerAncestral,
  guidedPairs,
  joinConditioning,
  lastLatent,
  plms,
  unipc,
  type Discretize,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
  type Spacing,
} from '../samplers/index.js';
import { withCapture } from './captured_denoiser.js';
import { ledByClassifier, type ClassifierOptions } from './classifier_guidance.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';
import type { Denoiser } from './gaussian_diffusion.js';
import type { LatentDiffusion } from './latent_diffusion.js';
import type { LatentDiffusionSpec } from './latent_diffusion_spec.js';
import { layoutsOfPatches } from './patch_crop.js';
import type { PatchOptions } from './patch_grid.js';
import type { SamplingMethod } from './method_options.js';
import { checkSampleOptions, samplingSteps } from './sampling_methods.js';
import { taskOf } from './task_of.js';

export interface SampleOptions extends Omit<
  SamplerOptions,
  'shape' | 'device' | 'parameterization' | 'quantizeX0'
> {
  /** default 'ddim' */
  method?: SamplingMethod;
  /** number of steps, default 50 or all that a shorter schedule has; 'ddpm' takes T */
  steps?: number;
  /** noise of 'ddim' (default 0) and 'euler-ancestral' (default 1) */
  eta?: number;
  /** how the timesteps of 'ddim' and 'plms' are spread, default 'uniform' */
  discretize?: Discretize;
  /** and those of the solvers, default 'linspace' */
  spacing?: Spacing;
  /** number of samples; default: as many as there are conditions, initial latents, classes or seeds, else 1 */
  count?: number;
  /** height and width of the latents, default the spec's imageSize */
  size?: readonly [number, number];
  /** what is conditioned on, or the same encoded already */
  condition?: ConditionInput;
  conditioning?: NetworkConditioning;
  /** scale of classifier-free guidance; with 1 (default) there is none */
  guidance?: number;
  /** what guidance leads away from; default: what stands for "nothing" beside the condition */
  unconditional?: ConditionInput;
  unconditionalConditioning?: NetworkConditioning;
  /** leads samples to classes, with or without classifier-free guidance. The network must predict ε */
  classifier?: ClassifierOptions;
  /** the network sees one part of larger latents after the other; with `patchDistributedVq` the decoder, too */
  patches?: PatchOptions;
  /** bring each estimate to the nearest codes of a VQ model, default false */
  quantizeX0?: boolean;
  /**
   * Whether the network's work, guidance included, is recorded in the second call and replayed in all later ones
   * where the device records (CUDA graphs, see `capture`): the same bits, without the price of each launch. Until
   * the latents are found, a recording keeps the memory that one call needs. Runs with `patches`, and those that
   * noise their conditioning, are not recorded. Default true; false for networks that read values on the way.
   */
  capture?: boolean;
  /** whether the latents are decoded, default true */
  decode?: boolean;
  /** samples that are decoded at once, default 4 */
  decodeBatch?: number;
  /** sees every step; its tensors live until it returns */
  onStep?: (step: SamplerStep) => void | Promise<void>;
}

export interface LatentSamples {
  /** scaled, [N, h, w, C] */
  latents: Tensor;
  /** [N, H, W, 3], about in [-1, 1]; with `decode: false` null */
  images: Tensor | null;
}

/** See {@link LatentDiffusion.sample}. */
export async function sampleLatents(
  model: LatentDiffusion,
  options: SampleOptions,
): Promise<LatentSamples> {
  checkSampleOptions(options);
  const { classifier } = options;
  const modules = [...model.modules(), ...(classifier?.model.modules() ?? [])];
  const wasTraining = modules.filter((module) => module.training);
  const wasTrained = classifier?.model.parameters().filter((x) => x.requiresGrad) ?? [];
  model.eval();
  classifier?.model.eval().requiresGrad_(false);
  return noGrad(() =>
    tidy(async () => {
      const run = (denoise: Denoiser) =>
        lastLatent(startRun(model, led(model, denoise, options), options), options.onStep);
      const denoise = makeDenoiser(model, options);
      const latents = await (isCaptured(model, options) ? withCapture(denoise, run) : run(denoise));
      const { decode = true, decodeBatch = 4 } = options;
      return {
        latents,
        images: decode ? await decodeInBatches(model, latents, decodeBatch, options.patches) : null,
      };
    }),
  ).finally(() => {
    for (const module of wasTraining) module.training = true;
    for (const parameter of wasTrained) parameter.requiresGrad = true;
  });
}

/**
 * Decodes a few latents at a time, so that the decoder's maps need no more memory than these take.
 *
 * @param latents scaled, [N, h, w, C]
 * @param patches of each latent, where these have `patchDistributedVq`
 */
export async function decodeInBatches(
  model: LatentDiffusion,
  latents: Tensor,
  size: number,
  patches?: PatchOptions,
): Promise<Tensor> {
  check(Number.isInteger(size) && size >= 1, () => {
    return `LatentDiffusion: decodeBatch must be an integer of at least 1. Got ${size}.`;
  });
  const [count] = latents.shape;
  const parts: Tensor[] = [];
  for (let from = 0; from < count; from += size) {
    const length = Math.min(size, count - from);
    parts.push(tidy(() => model.decode(latents.narrow(0, from, length), patches)));
    // Without this the work of all parts would be enqueued at once, and its memory taken.
    await latents.device.synchronize();
  }
  return parts.length === 1 ? parts[0] : concat(parts, 0);
}

// Patches upload what they weigh, and noised conditionings draw it: neither can be recorded.
function isCaptured(model: LatentDiffusion, options: SampleOptions): boolean {
  const { capture = true, patches } = options;
  return capture && !patches && !noisesConditioning(model, options);
}

// As in the original only ancestral sampling noises the conditioning, anew in each step.
const noisesConditioning = (model: LatentDiffusion, { method }: SampleOptions): boolean =>
  model.hasNoisedConditioning && method === 'ddpm';

// The network with its conditioning, whose keys and values are made here, once for the whole run.
function makeDenoiser(model: LatentDiffusion, options: SampleOptions): Denoiser {
  checkConditioned(model.spec, options);
  const { guidance = 1, patches } = options;
  const isGuided = guidance !== 1;
  if (patches?.cropTokens) {
    const denoise = bindLayouts(model, options, isGuided, patches);
    return isGuided ? guidedPairs(denoise, guidance) : denoise;
  }
  const conditioning = encoded(model, options.condition, options.conditioning) ?? {};
  const both = isGuided
    ? joinConditioning(unconditionalOf(model, options), tensorsOnly(conditioning))
    : conditioning;
  const denoise = bind(model, both, options);
  return isGuided ? guidedPairs(denoise, guidance) : denoise;
}

// In the words of whoever asks for pictures: what the network itself lacks says little to them.
function checkConditioned(
  spec: LatentDiffusionSpec,
  { condition, conditioning }: SampleOptions,
): void {
  const isGiven = condition !== undefined || conditioning !== undefined;
  check(isGiven || spec.conditioningKey === undefined, () => {
    const task = taskOf(spec);
    return (
      `LatentDiffusion: the model is conditioned on ${task.condition}, and sample was given no condition. ` +
      (task.madeBy ? `Use ${task.madeBy}, or give` : 'Give') +
      ' condition, or conditioning: the same encoded.'
    );
  });
}

function bind(
  model: LatentDiffusion,
  conditioning: NetworkConditioning,
  options: SampleOptions,
): Denoiser {
  const { seed, patches } = options;
  if (noisesConditioning(model, options)) {
    check(
      seed !== undefined,
      () => 'LatentDiffusion: give a seed for the noise of the conditioning.',
    );
    const first = typeof seed === 'number' ? seed : seed[0];
    let step = 0;
    return (x, t) => {
      const key = { seed: first, stream: conditioningStream, step: step++ };
      return model.applyModel(x, t, model.noisedConditioning(conditioning, t, key), patches);
    };
  }
  const { context } = conditioning;
  const prepared =
    context instanceof Tensor
      ? { ...conditioning, context: model.model.diffusion_model.prepareContext(context) }
      : conditioning;
  return (x, t) => model.applyModel(x, t, prepared, patches);
}

// Of layouts every patch has its own. Keys and values of these are made in every step: kept, they would take, with the
// published model, forty times the embeddings' memory for every patch, and grow with the canvas.
function bindLayouts(
  model: LatentDiffusion,
  options: SampleOptions,
  isGuided: boolean,
  patches: PatchOptions,
): Denoiser {
  const [, h, w] = shapeOf(model, options);
  const nothing = isGuided ? unconditionalOf(model, options) : undefined;
  const { conditioner } = model;
  const layouts = layoutsOfPatches(conditioner, options.condition, [h, w], patches, (tokens) => {
    const own = tensorsOnly(model.condition(tokens));
    return nothing ? joinConditioning(nothing, own) : own;
  });
  return (x, t) => model.applyModel(x, t, layouts, patches);
}

// Apart from the streams of the samplers' own noise.
const conditioningStream = 0x6c64_0001;

function encoded(
  model: LatentDiffusion,
  input: ConditionInput | undefined,
  conditioning: NetworkConditioning | undefined,
): NetworkConditioning | undefined {
  check(input === undefined || conditioning === undefined, () => {
    return 'LatentDiffusion: give either a condition or the encoded conditioning, not both.';
  });
  return input === undefined ? conditioning : model.condition(input);
}

function unconditionalOf(
  model: LatentDiffusion,
  options: SampleOptions,
): Readonly<Record<string, Tensor>> {
  const { condition, unconditional, unconditionalConditioning } = options;
  const given = encoded(model, unconditional, unconditionalConditioning);
  if (given) return tensorsOnly(given);
  check(condition !== undefined, () => {
    return 'LatentDiffusion: guidance needs to know what it leads away from: give unconditional or unconditionalConditioning.';
  });
  return tensorsOnly(model.condition(model.unconditional(condition)));
}

function tensorsOnly(conditioning: NetworkConditioning): Readonly<Record<string, Tensor>> {
  const entries = Object.entries(conditioning).filter(([, value]) => value !== undefined);
  check(!entries.some(([, value]) => value instanceof PreparedContext), () => {
    return 'LatentDiffusion: guidance joins conditionings, so it takes the context itself, not a prepared one.';
  });
  return Object.fromEntries(entries) as Record<string, Tensor>;
}

// Outside of what is captured: a classifier looks its level of noise up on the host.
function led(model: LatentDiffusion, denoise: Denoiser, options: SampleOptions): Denoiser {
  const { classifier } = options;
  return classifier
    ? ledByClassifier(model, denoise, shapeOf(model, options)[0], classifier)
    : denoise;
}

function startRun(model: LatentDiffusion, denoise: Denoiser, options: SampleOptions): SamplerRun {
  const { method = 'ddim', eta, discretize, spacing, quantizeX0 = false } = options;
  const { initial, seed, torchSeed, image, mask, signal } = options;
  const { temperature, noise, noiseDropout, repeatNoise } = options;
  const { diffusion } = model;
  const { schedule, parameterization } = diffusion;
  check((model.spec.unet.nEmbed ?? 0) === 0, () => {
    return 'LatentDiffusion: this network predicts codes, not noise: decode its predictions with decodeCodes.';
  });
  const shared = {
    ...{ initial, seed, torchSeed, image, mask, signal },
    shape: shapeOf(model, options),
    device: model.betas.device,
    quantizeX0: quantizeX0 ? (x0: Tensor) => model.quantize(x0) : undefined,
  };
  const noisy = { ...shared, temperature, noise, noiseDropout, repeatNoise };
  const { asked: steps } = samplingSteps(schedule.timesteps, options);
  const onTable = { parameterization, steps, discretize };
  const solving = { parameterization, steps, spacing };
  switch (method) {
    case 'ddim':
      return ddim(denoise, schedule, { ...noisy, ...onTable, eta });
    case 'plms':
      return plms(denoise, schedule, { ...shared, ...onTable });
    case 'ddpm':
      return ddpm(denoise, diffusion, { ...noisy, clipDenoised: model.spec.clipDenoised });
    case 'dpm-solver++':
      return dpmSolverPlusPlus(denoise, schedule, { ...shared, ...solving });
    case 'unipc':
      return unipc(denoise, schedule, { ...shared, ...solving });
    case 'euler':
      return euler(denoise, schedule, { ...shared, ...solving });
    case 'euler-ancestral':
      return eulerAncestral(denoise, schedule, { ...noisy, ...solving, eta });
  }
}

function shapeOf({ spec }: LatentDiffusion, options: SampleOptions): number[] {
  const { initial, image, seed, condition, conditioning, classifier } = options;
  const given = initial ?? image?.latent;
  const [first] = tensorsIn([condition, conditioning]);
  const lengthOf = (list?: number | readonly number[]) =>
    Array.isArray(list) ? list.length : undefined;
  const counts = [given?.shape[0], first?.shape[0], lengthOf(seed)];
  const found = [...counts, lengthOf(classifier?.classes)].find((count) => count !== undefined);
  const count = options.count ?? found ?? 1;
  checkShape(
    counts.every((each) => each === undefined || each === count),
    () => {
      const [latents, conditions, seeds] = counts.map((each) => each ?? 'not given');
      return (
        `LatentDiffusion: ${count} samples need as many latents, conditions and seeds. ` +
        `Got latents: ${latents}, conditions: ${conditions}, seeds: ${seeds}.`
      );
    },
  );
  const side = spec.imageSize ?? spec.unet.imageSize ?? 0;
  const size = options.size ?? given?.shape.slice(1, 3) ?? [side, side];
  check(size[0] > 0 && size[1] > 0, () => {
    return 'LatentDiffusion: give the size of the latents, which the spec does not name (imageSize).';
  });
  return [count, size[0], size[1], spec.unet.outChannels];
}
