/** Inpainting (paper, section 4.5): holes of pictures are filled so that they fit what is known around them. */
import { noGrad } from '../../autograd/index.js';
import { zeros } from '../../creation.js';
import { ArgumentError, check, checkShape } from '../../errors.js';
import { clamp, ge, narrow, pad, where } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import { Tensor } from '../../tensor.js';
import type { ConditionInput, MaskedImage } from '../conditioning/index.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentDiffusionSpec } from '../diffusion/latent_diffusion_spec.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';
import { faded, filledPlainly, holesOf, known, padded } from './holes.js';
import { latentStep, seedsOf, type TaskOptions } from './pictures.js';
import { nothingWanted, readWanted, type WantedOptions } from './wanted.js';

/** Pictures, and which of their pixels are to be made. */
export interface HoleOptions {
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
 * What a model is conditioned on beside holes, as `LatentDiffusion.sample` takes it. Of a model that joins a masked
 * picture it is what is attended to.
 */
export type BesideHoles = Pick<
  SampleOptions,
  'condition' | 'conditioning' | 'unconditional' | 'unconditionalConditioning'
>;

/** Beside the holes, what is to be made, and everything that sampling takes but for what follows from them. */
export interface InpaintOptions
  extends
    HoleOptions,
    WantedOptions,
    BesideHoles,
    Omit<TaskOptions, 'initial' | 'image' | 'mask' | 'decode' | 'guidance'> {}

/** What sampling is told of pictures with holes, and how its pictures join what is known. */
export interface Inpainting {
  readonly sampling: Pick<SampleOptions, 'size' | 'mask'> & BesideHoles;
  /**
   * @param made decoded samples [M, ...] for the pictures from number `first` on (default 0)
   * @returns [M, H, W, C]
   */
  compose(made: Tensor, first?: number): Tensor;
}

/**
 * How a model fills holes: `conditioned` on the picture with holes and the mask, as the published
 * `inpainting_big`, and perhaps on a text as well, as Stable Diffusion's; or `guided`, any other whose network takes
 * no map, by sampling that keeps what is known.
 *
 * @throws ArgumentError when it can do neither
 */
export function inpaintingMode(spec: LatentDiffusionSpec): 'conditioned' | 'guided' {
  const { conditioner = { kind: 'none' }, conditioningKey, unet } = spec;
  if (conditioningKey === undefined || conditioningKey === 'crossattn' || conditioningKey === 'adm')
    return 'guided';
  const { kind } = conditioner.kind === 'hybrid' ? conditioner.concat : conditioner;
  const joined = unet.inChannels - unet.outChannels;
  const isMasked = kind === 'first-stage' || kind === 'masked-latents';
  if (isMasked && joined === unet.outChannels + 1) return 'conditioned';
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
 * cells that are wholly known, at each step's level of noise, and makes the others. A model of texts or of classes,
 * in either way, can be asked for what is to be made; what else a model is conditioned on is given as to
 * `LatentDiffusion.sample`. Sides are padded to what the network needs, and cut back.
 *
 * ```ts
 * const image = (await readImage('photo.png')).reshape([1, 512, 512, 3]);
 * const filled = await inpaint(model, { image, mask, tokenizer, prompt: 'a red fox', steps: 50, seed: 1 });
 * ```
 *
 * @returns [N, H, W, C]
 * @throws ShapeError when picture and mask do not belong together; ArgumentError for a mask without holes or
 *   with values outside of [0, 1], a model for another task, or one that cannot be asked for what is wanted
 */
export function inpaint(model: LatentDiffusion, options: InpaintOptions): Promise<Tensor> {
  const { image, mask, resizeMask, softEdge, seed, ...rest } = options;
  const { condition, conditioning, unconditional, unconditionalConditioning, ...others } = rest;
  const { prompt, negativePrompt, tokenizer: _, classes, classNames: __, ...sampling } = others;
  const beside = { condition, conditioning, unconditional, unconditionalConditioning };
  const [count] = image.shape;
  checkBeside(model.spec, beside);
  const told = readWanted('inpaint', model, count, options);
  check(!(condition ?? conditioning) || (classes ?? prompt ?? negativePrompt) === undefined, () => {
    return 'inpaint: give what is wanted, or the condition that says so, not both.';
  });
  return tidy(async () => {
    const { guidance, ...asked } = told();
    const given = { image, mask, resizeMask, softEdge, ...beside, ...asked };
    const holes = await prepareInpainting(model, given);
    const { images } = await model.sample({
      ...sampling,
      ...holes.sampling,
      guidance,
      seed: seedsOf('inpaint', count, seed),
    });
    return holes.compose(images!);
  });
}

// What a model that joins masked pictures cannot be told.
function checkBeside({ conditioningKey }: LatentDiffusionSpec, beside: BesideHoles): void {
  const { condition, conditioning, unconditional, unconditionalConditioning } = beside;
  const any = condition ?? conditioning ?? unconditional ?? unconditionalConditioning;
  check(conditioningKey !== 'concat' || any === undefined, () => {
    return 'inpaint: what the model is conditioned on is the picture with its mask: leave the condition out.';
  });
  const tokens = [condition, unconditional].filter((each) => each !== undefined);
  const isEncoded = (conditioning ?? unconditionalConditioning) !== undefined;
  const fits = !isEncoded && tokens.every((each) => each instanceof Tensor);
  check(conditioningKey !== 'hybrid' || fits, () => {
    return 'inpaint: beside the masked picture the condition is one tensor, what the model attends to before it is encoded.';
  });
}

/**
 * The two ends of {@link inpaint}, for whoever samples by themselves.
 *
 * @throws as `inpaint` does
 */
export function prepareInpainting(
  model: LatentDiffusion,
  { image: given, mask, resizeMask = false, softEdge = 0, ...beside }: HoleOptions & BesideHoles,
): Promise<Inpainting> {
  const mode = inpaintingMode(model.spec);
  checkBeside(model.spec, beside);
  check(Number.isInteger(softEdge) && softEdge >= 0 && softEdge <= 256, () => {
    return `inpaint: softEdge must be an integer from 0 to 256. Got ${softEdge}.`;
  });
  return noGrad(async () => {
    const { device } = model.betas;
    const image = given.to(device);
    const hole = await holesOf(mask.to(device), image, resizeMask);
    const [whole, open] = [image, hole].map((each) => padded(each, stride(model)));
    const f = model.first_stage_model.downsampling;
    const size = [whole.shape[1] / f, whole.shape[2] / f] as const;
    const masked = () => ({ image: where(ge(open, 0.5), -1, whole), mask: open.mul(2).sub(1) });
    return {
      sampling:
        mode === 'conditioned'
          ? { size, ...joined(model, masked(), beside) }
          : {
              size,
              mask: { known: model.encode(filledPlainly(whole, open)), keep: known(open, f) },
              ...attended(model, image.shape[0], beside),
            },
      compose: (made: Tensor, first = 0) =>
        noGrad(() =>
          tidy(() => {
            const [count] = made.shape;
            const [x, isHole] = [image, hole].map((each) => narrow(each, 0, first, count));
            return composed(x, isHole, made, softEdge);
          }),
        ),
    };
  });
}

// What a model is told that joins the masked picture, and may attend to something beside it.
function joined(
  model: LatentDiffusion,
  masked: MaskedImage,
  beside: BesideHoles,
): Pick<SampleOptions, 'condition' | 'unconditional'> {
  if (model.conditioner.kind !== 'hybrid') return { condition: masked };
  const [count] = masked.image.shape;
  const { condition, unconditional } = attended(model, count, beside);
  const both = (tokens: ConditionInput) => {
    const crossattn = tokens as Tensor;
    checkShape(crossattn.shape[0] === count, () => {
      return `inpaint: ${count} pictures need as many conditions. Got shape [${crossattn.shape.join(', ')}].`;
    });
    return { concat: masked, crossattn };
  };
  return {
    condition: both(condition!),
    ...(unconditional && { unconditional: both(unconditional) }),
  };
}

// A model that is asked for nothing is told so.
const attended = (model: LatentDiffusion, count: number, beside: BesideHoles): BesideHoles =>
  (beside.condition ?? beside.conditioning)
    ? beside
    : { ...beside, condition: nothingWanted('inpaint', model, count) };

// In pixels, as the authors' program has it: the first stage would change what is known as well.
function composed(image: Tensor, hole: Tensor, decoded: Tensor, softEdge: number): Tensor {
  const [, height, width] = image.shape;
  const made = clamp(narrow(narrow(decoded, 1, 0, height), 2, 0, width), -1, 1);
  return where(ge(hole, 0.5), made, softEdge === 0 ? image : faded(image, made, hole, softEdge));
}

/** Pixels by which sides must be divisible: the first stage's cells, halved between the network's levels. */
function stride({ spec, first_stage_model: stage }: LatentDiffusion): number {
  return stage.downsampling * latentStep(spec);
}

/** Pixels to be added on each side of a picture. */
export interface Borders {
  left?: number;
  top?: number;
  right?: number;
  bottom?: number;
}

/** The most pixels that a picture is grown to. */
const largest = 1e8;

/**
 * A picture with room around it, and the mask of that room: what {@link inpaint} takes to go on beyond a
 * picture's edges.
 *
 * @param image [N, H, W, C]
 * @returns image [N, H + top + bottom, W + left + right, C] and mask [1, ..., 1]
 * @throws ArgumentError for borders that are no whole numbers, all zero, or make the picture too large
 */
export function withBorders(
  image: Tensor,
  { left = 0, top = 0, right = 0, bottom = 0 }: Borders,
): { image: Tensor; mask: Tensor } {
  const borders = [left, top, right, bottom];
  checkShape(image.rank === 4, () => {
    return `withBorders: an image is [N, H, W, C]. Got shape [${image.shape.join(', ')}].`;
  });
  const [, H, W] = image.shape;
  check(
    borders.every((each) => Number.isInteger(each) && each >= 0),
    () => {
      return `withBorders: borders are whole numbers of pixels. Got ${borders.join(', ')}.`;
    },
  );
  check(
    borders.some((each) => each > 0),
    () => 'withBorders: there is no border to be made.',
  );
  check((H + top + bottom) * (W + left + right) <= largest, () => {
    return (
      `withBorders: ${H + top + bottom} x ${W + left + right} pixels are too many; at most ${largest} ` +
      'can be made.'
    );
  });
  const pads = [
    [0, 0],
    [top, bottom],
    [left, right],
    [0, 0],
  ] as const;
  const inside = zeros([1, H, W, 1], { device: image.device });
  return { image: pad(image, pads), mask: pad(inside, pads, { value: 1 }) };
}
