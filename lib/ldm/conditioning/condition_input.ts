/** What a diffusion model is conditioned on before it is encoded: one thing, or several at once. */
import { check } from '../../errors.js';
import { concat, resize } from '../../ops/index.js';
import { Tensor } from '../../tensor.js';
import type { FirstStage } from '../first_stage/index.js';
import type { ConditionEncoder, ConditionerSpec } from './conditioner.js';

/** A masked image [N, H, W, 3] and its mask [N, H, W, 1], where 1 is to be made and -1 is known (paper, section 4.5). */
export interface MaskedImage {
  readonly image: Tensor;
  readonly mask: Tensor;
}

/** What a hybrid conditioner takes: a map for the latent's channels, and tokens to attend to. */
export interface HybridInput {
  readonly concat: Tensor | MaskedImage;
  readonly crossattn: Tensor;
}

/**
 * What is conditioned on, before it is encoded: class ids [N], token ids [N, T], a map or image [N, H, W, C], a
 * masked image and its mask, or a map and tokens at once.
 */
export type ConditionInput = Tensor | MaskedImage | HybridInput;

/** @internal */
export const isHybrid = (input: ConditionInput): input is HybridInput =>
  !(input instanceof Tensor) && 'crossattn' in input;

/** @internal The same with `use` applied to each of its tensors. */
export function mapCondition(input: ConditionInput, use: (x: Tensor) => Tensor): ConditionInput {
  const entries = (parts: object) =>
    Object.entries(parts).map(([name, part]: [string, Tensor | MaskedImage]) => {
      return [name, mapCondition(part, use)] as const;
    });
  if (input instanceof Tensor) return use(input);
  return Object.fromEntries(entries(input)) as unknown as ConditionInput;
}

/** @internal The input of a hybrid conditioner. @throws ArgumentError when it is another's */
export function hybridInput(input: ConditionInput): HybridInput {
  check(isHybrid(input), () => {
    return 'LatentDiffusion: a hybrid conditioner takes { concat, crossattn }: a map and tokens.';
  });
  return input;
}

/**
 * @internal Encodes with one conditioner; a first stage's latents are neither quantised nor scaled.
 * @param stage null where the input is the conditioning itself
 * @throws ArgumentError when the conditioner takes no such input
 */
export function encodePart(
  { kind }: ConditionerSpec,
  stage: ConditionEncoder | FirstStage | null,
  input: ConditionInput,
): Tensor {
  check(kind !== 'none', () => 'LatentDiffusion: the model has no conditioner.');
  check(!isHybrid(input), () => {
    return `LatentDiffusion: a conditioner of kind ${kind} takes one thing, not { concat, crossattn }.`;
  });
  if (kind === 'first-stage') {
    const { image, mask } = input instanceof Tensor ? { image: input, mask: undefined } : input;
    const latents = (stage as FirstStage).encodeToLatents(image);
    if (!mask) return latents;
    const [, height, width] = latents.shape;
    return concat([latents, resize(mask, { size: [height, width], mode: 'nearest' })], 3);
  }
  check(input instanceof Tensor, () => {
    return `LatentDiffusion: a conditioner of kind ${kind} takes one tensor, not an image with a mask.`;
  });
  return (stage as ConditionEncoder | null)?.forward(input) ?? input;
}
