/** Inpainting (paper, section 4.5): holes of pictures are filled so that they fit what is known around them. */
import { noGrad } from '../../autograd/index.js';
import { ArgumentError, check, checkShape } from '../../errors.js';
import {
  avgPool2d,
  clamp,
  concat,
  ge,
  logicalNot,
  maxPool2d,
  maximum,
  narrow,
  pad,
  resize,
  sum,
  where,
} from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentDiffusionSpec } from '../diffusion/latent_diffusion_spec.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';

/** How holes are filled; everything that sampling takes but for what follows from the picture. */
export interface InpaintOptions extends Omit<
  SampleOptions,
  'count' | 'size' | 'initial' | 'image' | 'mask' | 'decode'
> {
  /** [N, H, W, C] in [-1, 1], of any size. What lies under the holes is never looked at */
  image: Tensor;
  /** [N or 1, H, W, 1] in [0, 1]: from 0.5 on a pixel is to be made, below it is known */
  mask: Tensor;
  /** bring a mask of another size to the picture's, by nearest pixels. Default false: it is refused */
  resizeMask?: boolean;
  /**
   * Width in pixels of a seam around holes in which known pixels fade into made ones. Default 0: every known
   * pixel stays as it is, to the bit
   */
  softEdge?: number;
}

/**
 * How a model fills holes: `conditioned` on the picture with holes and the mask, as the published
 * `inpainting_big`; or `guided`, any other whose network takes no map, by sampling that keeps what is known.
 *
 * @throws ArgumentError when it can do neither
 */
export function inpaintingMode(spec: LatentDiffusionSpec): 'conditioned' | 'guided' {
  const { conditioner = { kind: 'none' }, conditioningKey, unet } = spec;
  if (conditioningKey === undefined || conditioningKey === 'crossattn' || conditioningKey === 'adm')
    return 'guided';
  const { kind } = conditioner;
  const joined = unet.inChannels - unet.outChannels;
  if (conditioningKey === 'concat' && kind === 'first-stage' && joined === unet.outChannels + 1)
    return 'conditioned';
  throw new ArgumentError(
    `inpaint: the model joins ${joined} channels of a conditioner of kind ${kind} to its latents ` +
      `(${conditioningKey}), which makes it one for another task. Inpainting takes a model of nothing, classes or ` +
      'text, or one that joins the masked picture as latents and its mask (conditioner first-stage).',
  );
}

/**
 * Fills the holes of pictures. Known pixels are those of `image`, to the bit.
 *
 * A model that is conditioned on masked pictures sees them as in its training. Any other keeps the latents of
 * cells that are wholly known, at each step's level of noise, and makes the others; give it its condition and
 * guidance as to `LatentDiffusion.sample`. Sides are padded to what the network needs, and cut back.
 *
 * ```ts
 * const image = (await readImage('photo.png')).reshape([1, 512, 512, 3]);
 * const filled = await inpaint(model, { image, mask, steps: 50, seed: 1 });
 * ```
 *
 * @returns [N, H, W, C]
 * @throws ShapeError when picture and mask do not belong together; ArgumentError for a mask without holes or
 *   with values outside of [0, 1], or a model for another task
 */
export async function inpaint(model: LatentDiffusion, options: InpaintOptions): Promise<Tensor> {
  const { image: given, mask, resizeMask = false, softEdge = 0, ...sampling } = options;
  const mode = inpaintingMode(model.spec);
  check(Number.isInteger(softEdge) && softEdge >= 0 && softEdge <= 1024, () => {
    return `inpaint: softEdge must be an integer from 0 to 1024. Got ${softEdge}.`;
  });
  return tidy(() =>
    noGrad(async () => {
      const image = given.to(model.betas.device);
      const hole = await holesOf(mask.to(model.betas.device), image, resizeMask);
      const [, height, width] = image.shape;
      const [whole, open] = [image, hole].map((each) => padded(each, stride(model)));
      const f = model.first_stage_model.downsampling;
      const { images } = await model.sample({
        ...sampling,
        size: [whole.shape[1] / f, whole.shape[2] / f],
        ...(mode === 'conditioned'
          ? { condition: { image: where(ge(open, 0.5), -1, whole), mask: open.mul(2).sub(1) } }
          : { mask: { known: model.encode(filledPlainly(whole, open)), keep: known(open, f) } }),
      });
      const made = clamp(narrow(narrow(images!, 1, 0, height), 2, 0, width), -1, 1);
      return where(
        ge(hole, 0.5),
        made,
        softEdge === 0 ? image : faded(image, made, hole, softEdge),
      );
    }),
  );
}

/** Pixels by which sides must be divisible: the first stage's cells, halved between the network's levels. */
function stride({ spec, first_stage_model: stage }: LatentDiffusion): number {
  const { channelMult = [1, 2, 4, 8] } = spec.unet;
  return stage.downsampling * 2 ** (channelMult.length - 1);
}

/** [N, H, W, 1]: 1 where something is to be made, else 0. */
async function holesOf(mask: Tensor, image: Tensor, resizeMask: boolean): Promise<Tensor> {
  const shapes = () =>
    `Got an image of [${image.shape.join(', ')}] and a mask of [${mask.shape.join(', ')}].`;
  const [N, H, W] = image.shape;
  checkShape(
    image.rank === 4 &&
      mask.rank === 4 &&
      mask.shape[3] === 1 &&
      (mask.shape[0] === N || mask.shape[0] === 1) &&
      image.numel > 0 &&
      mask.numel > 0,
    () => `inpaint: an image is [N, H, W, C], its mask [N or 1, H, W, 1]. ${shapes()}`,
  );
  checkShape(resizeMask || (mask.shape[1] === H && mask.shape[2] === W), () => {
    return `inpaint: a mask has its image's size; resizeMask brings one of another size to it. ${shapes()}`;
  });
  const values = mask.to('float32');
  const [low, high] = await Promise.all([values.min().item(), values.max().item()]);
  check(low >= 0 && high <= 1, () => {
    return `inpaint: a mask's values lie in [0, 1], where 1 is to be made. Got values from ${low} to ${high}.`;
  });
  const fitting = resizeMask ? resize(values, { size: [H, W], mode: 'nearest' }) : values;
  const holes = ge(fitting, 0.5).to('float32');
  const each = await sum(holes, [1, 2, 3]).data();
  check(!each.includes(0 as never), () => {
    return 'inpaint: the mask has no hole: all of the picture is known. 1 (white) is what is to be made.';
  });
  return mask.shape[0] === N
    ? holes
    : concat(
        Array.from({ length: N }, () => holes),
        0,
      );
}

function padded(x: Tensor, multiple: number): Tensor {
  const missing = (side: number) => (multiple - (side % multiple)) % multiple;
  const [, height, width] = x.shape;
  const pads = [
    [0, 0],
    [0, missing(height)],
    [0, missing(width)],
    [0, 0],
  ] as const;
  return pad(x, pads, { mode: 'replicate' });
}

// Of each picture the mean of its known pixels: what the encoder sees of holes reaches into cells around them.
function filledPlainly(image: Tensor, hole: Tensor): Tensor {
  const isHole = ge(hole, 0.5);
  const count = sum(logicalNot(isHole).to('float32'), [1, 2], { keepDims: true });
  const mean = sum(where(isHole, 0, image), [1, 2], { keepDims: true }).div(maximum(count, 1));
  return where(isHole, mean, image);
}

/** [N, H/f, W/f, 1]: 1 for cells that are wholly known. */
function known(hole: Tensor, f: number): Tensor {
  return maxPool2d(hole, { kernel: f }).neg().add(1);
}

// The holes are widened by half of the seam, and their edge is blurred over it.
function faded(image: Tensor, made: Tensor, hole: Tensor, seam: number): Tensor {
  const [reach, blur] = [Math.ceil(seam / 2), Math.floor(seam / 2)];
  const windows = (radius: number) => ({ kernel: 2 * radius + 1, stride: 1, padding: radius });
  const share = avgPool2d(maxPool2d(hole, windows(reach)), windows(blur));
  return image.add(made.sub(image).mul(share));
}
