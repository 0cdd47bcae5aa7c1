/** Super-resolution: pictures enlarged by a model that is conditioned on small ones (paper, section 4.4). */
import { noGrad } from '../../autograd/index.js';
import { ArgumentError, checkShape } from '../../errors.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import {
  samplingSteps,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type PatchOptions,
  type SampleOptions,
} from '../diffusion/index.js';
import { upscalingOf, type UpscalingScale } from '../diffusion/task_of.js';
import { decodeTiled, extendMirrored, type TilingOptions } from '../first_stage/tiling.js';
import { latentStep, seedsOf, type TaskOptions } from './pictures.js';

export interface UpscaleOptions extends Omit<
  TaskOptions,
  'initial' | 'image' | 'patches' | 'decode' | 'decodeBatch'
> {
  /** small pictures [N, h, w, 3] in [-1, 1], of any size */
  image: Tensor;
  /** default 100, as many as the original's notebook suggests, or all where the model has fewer */
  steps?: number;
  /** of 'ddim' 1 as there, unless told: of one small picture each seed makes another large one */
  eta?: number;
  /**
   * How the network goes over large latents. Default, as the original does: where a side is more than twice that of
   * training, in patches of twice that side, half of one apart. null: it sees the whole at once, for which memory grows
   * with the picture.
   */
  patches?: PatchOptions | null;
  /** how large results are decoded. Default: in tiles of 512 pixels, see `decodeTiled` */
  tiling?: TilingOptions;
}

/**
 * Pictures enlarged by the model's factor, see {@link upscalingFactor}.
 *
 * ```ts
 * const small = (await readImage('small.png')).reshape([1, 48, 64, 3]);
 * const large = await upscale(model, { image: small, seed: 1 }); // [1, 192, 256, 3] with the preset bsr_sr
 * ```
 *
 * Sides that do not suit the network are extended by reflection, and the results are cut back. Memory is bounded by a
 * patch of the network and a tile of the decoder: beyond these only latents and pictures grow.
 *
 * @returns [N, factor h, factor w, 3] in [-1, 1]
 * @throws ArgumentError when the model is made for another task; ShapeError for an image of another shape
 */
export function upscale(
  model: LatentDiffusion,
  { image, patches, tiling, seed, ...sampling }: UpscaleOptions,
): Promise<Tensor> {
  const { signal } = sampling;
  return tidy(async () => {
    const tiles = { signal, ...tiling };
    const upscaling = prepareUpscaling(model, { image, patches, tiling: tiles });
    const { latents } = await model.sample({
      ...sampling,
      ...upscaling.sampling,
      ...upscalingSampler(model, sampling),
      seed: seedsOf('upscale', image.shape[0], seed),
      decode: false,
    });
    return upscaling.decode(latents);
  });
}

/** What sampling is told of small pictures, and how its latents become large ones. */
export interface Upscaling {
  readonly sampling: Pick<SampleOptions, 'condition' | 'size' | 'patches'>;
  /**
   * @param latents scaled, of some of the pictures, [M, ...]
   * @returns [M, factor h, factor w, 3] in [-1, 1]
   */
  decode(latents: Tensor): Promise<Tensor>;
}

/**
 * The two ends of {@link upscale}, for whoever samples by themselves.
 *
 * @throws as `upscale` does
 */
export function prepareUpscaling(
  model: LatentDiffusion,
  { image, patches, tiling }: Pick<UpscaleOptions, 'image' | 'patches' | 'tiling'>,
): Upscaling {
  const { factor, mapScale } = resolutionOf(model.spec);
  checkShape(image.rank === 4 && image.shape[3] === 3 && image.numel > 0, () => {
    return `upscale: expected pictures [N, h, w, 3]. Got shape [${image.shape.join(', ')}].`;
  });
  const [, height, width] = image.shape;
  const unit = smallestSide(model.spec, mapScale);
  const [h, w] = [height, width].map((side) => Math.ceil(side / unit) * unit);
  const size = [h * mapScale, w * mapScale] as const;
  const cut = patches ?? (patches === undefined ? usualPatches(model.spec, size) : undefined);
  return {
    sampling: {
      condition: noGrad(() => extendMirrored(image.to(model.betas.device), h, w)),
      size,
      ...(cut && { patches: cut }),
    },
    decode: (latents) =>
      noGrad(() =>
        tidy(async () => {
          const scale = model.scale_factor ?? model.spec.scaleFactor ?? 1;
          const images = await decodeTiled(model.first_stage_model, latents.div(scale), tiling);
          const rows = images.narrow(1, 0, height * factor);
          return rows.narrow(2, 0, width * factor).clamp(-1, 1);
        }),
      ),
  };
}

/** @internal Steps and noise of a sampler, where it is not told and takes them. */
export function upscalingSampler(
  { diffusion }: LatentDiffusion,
  sampler: Pick<SampleOptions, 'method' | 'steps' | 'spacing' | 'eta'>,
): Pick<SampleOptions, 'steps' | 'eta'> {
  const { method = 'ddim', steps, eta } = sampler;
  const { asked } = samplingSteps(diffusion.schedule.timesteps, sampler, 100);
  return {
    steps: method === 'ddpm' ? steps : asked,
    eta: eta ?? (method === 'ddim' ? 1 : undefined),
  };
}

/**
 * How many times larger a super-resolution model makes both sides: its first stage's factor, times that by which its
 * conditioner enlarges the small picture before it is joined to the latents.
 *
 * @throws ArgumentError that says why the model is none of super-resolution
 */
export function upscalingFactor(spec: LatentDiffusionSpec): number {
  return resolutionOf(spec).factor;
}

function resolutionOf(spec: LatentDiffusionSpec): UpscalingScale {
  const found = upscalingOf(spec);
  if (typeof found !== 'string') return found;
  throw new ArgumentError(
    `upscale: the model was made for another task: ${found}. A model of super-resolution joins a small picture of ` +
      "three channels to its latents, as the preset 'bsr_sr' does.",
  );
}

// Sides of small pictures must be multiples of it: of what the network halves, counted before the conditioner.
function smallestSide(spec: LatentDiffusionSpec, mapScale: number): number {
  const halved = latentStep(spec);
  let side = 1;
  while ((side * mapScale) % halved !== 0) side += 1;
  return side;
}

function usualPatches(
  { imageSize, unet }: LatentDiffusionSpec,
  size: readonly [number, number],
): PatchOptions | undefined {
  const ks = 2 * (imageSize ?? unet.imageSize ?? 0);
  return ks > 0 && Math.max(...size) > ks ? { ks } : undefined;
}
