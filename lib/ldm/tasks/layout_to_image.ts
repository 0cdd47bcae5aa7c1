/** Layout-to-image synthesis (paper, section 4.3.1): pictures of things in the places that boxes give them. */
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import { check } from '../../errors.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import {
  LayoutTokens,
  type ConditionerSpec,
  type LayoutObject,
  type LayoutView,
  type ObjectFlags,
  type RelativeBox,
} from '../conditioning/index.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentSamples } from '../diffusion/latent_sampling.js';
import { namedIds } from './class_names.js';
import { picturesFrom, type PictureOptions } from './pictures.js';

/** A thing that is wanted, in shares of the picture from its upper left corner. */
export interface WantedBox extends RelativeBox, ObjectFlags {
  /** its name, or its number */
  readonly category: string | number;
}

export interface LayoutToImageOptions extends PictureOptions {
  /** what is wanted where, in every picture */
  boxes: readonly WantedBox[];
  /** names of the model's categories by their numbers, in the order in which the training had them */
  categories: readonly string[];
  /** which part of a larger picture the boxes are of, and whether it is seen in a mirror; default: all of it */
  view?: LayoutView;
}

/**
 * Makes pictures of a layout with a model that was trained on them.
 *
 * ```ts
 * const { images } = await layoutToImage(model, {
 *   boxes: [{ category: 'dog', x: 0.1, y: 0.4, width: 0.5, height: 0.6 }],
 *   categories,
 *   count: 4,
 *   steps: 200,
 * });
 * ```
 *
 * @returns pictures [N, H, W, 3], and their latents
 * @throws ArgumentError when the model takes no layouts, a category does not exist, a box is not inside the
 *   picture, or there are more boxes than the model has places for
 */
export function layoutToImage(
  model: LatentDiffusion,
  { boxes, categories, view, ...rest }: LayoutToImageOptions,
): Promise<LatentSamples> {
  const tokens = layoutVocabulary(model.conditioner, categories.length);
  const objects = layoutObjects(tokens, boxes, categories);
  const { device } = model.betas;
  return tidy(() => {
    const sampling = picturesFrom('layoutToImage', model, 1, rest);
    const ids = (each: readonly LayoutObject[]) =>
      layoutIds(tokens, sampling.repeated([{ objects: each, view }]), device);
    return model.sample({
      ...sampling.options,
      condition: ids(objects),
      // Where no token stands for "nothing", a picture without objects does.
      ...(needsEmptyLayout(model.conditioner) && { unconditional: ids([]) }),
    });
  });
}

/** @internal Whether guidance must be told what a layout without objects is. */
export function needsEmptyLayout(spec: ConditionerSpec): boolean {
  return spec.kind === 'bert' && spec.unconditionalToken === undefined;
}

/**
 * The vocabulary of a model that is conditioned on layouts, by its conditioner.
 *
 * @param categories how many there are
 * @throws ArgumentError when it is conditioned on something else
 */
export function layoutVocabulary(spec: ConditionerSpec, categories: number): LayoutTokens {
  check(spec.kind === 'bert' && spec.useTokenizer === false, () => {
    return (
      'layoutToImage: the model takes no layouts: they need a conditioner of kind bert without a tokenizer. Its ' +
      `conditioner is of kind ${spec.kind}${spec.kind === 'bert' ? ' for captions' : ''}.`
    );
  });
  const { vocabSize = 30_522, maxSeqLen = 77 } = spec;
  const rest = maxSeqLen % 3;
  check(rest !== 1 && maxSeqLen >= 3, () => {
    return `layoutToImage: the model takes ${maxSeqLen} tokens, which is no length of a layout: three for each object, and two for the part that is seen.`;
  });
  return new LayoutTokens({
    categories,
    vocabSize,
    maxObjects: Math.floor(maxSeqLen / 3),
    encodeCrop: rest === 2,
    // Where the vocabulary has no room for more class tokens, the training had none.
    groupParameter: 2 * categories < vocabSize,
    additionalParameters: 16 * categories < vocabSize,
  });
}

/**
 * Checks boxes, and finds the numbers of their categories.
 * @throws ArgumentError that names the box that is wrong, with the name that was probably meant
 */
export function layoutObjects(
  tokens: LayoutTokens,
  boxes: readonly WantedBox[],
  categories: readonly string[],
): LayoutObject[] {
  check(boxes.length <= tokens.maxObjects, () => {
    return `layoutToImage: the model has places for ${tokens.maxObjects} objects. Got ${boxes.length} boxes.`;
  });
  boxes.forEach(({ category, x, y, width, height }, i) => {
    const inside = x >= 0 && y >= 0 && x + width <= 1 + tolerance && y + height <= 1 + tolerance;
    check(inside && width > 0 && height > 0, () => {
      return (
        `layoutToImage: box ${i} (${category}) must lie in the picture, from 0 to 1 in both directions, and have ` +
        `an area. Got x ${x}, y ${y}, width ${width}, height ${height}.`
      );
    });
  });
  const given = boxes.map(({ category }) => category);
  const numbers = namedIds(given, categories.length, categories);
  return boxes.map((box, i) => ({ ...box, category: numbers[i] }));
}

/** Token ids of layouts, int64 [N, T]. */
export function layoutIds(
  tokens: LayoutTokens,
  layouts: readonly { objects: readonly LayoutObject[]; view?: LayoutView }[],
  device?: Device,
): Tensor {
  const ids = layouts.flatMap(({ objects, view }) => tokens.encode(objects, view));
  const shape = [layouts.length, tokens.length];
  return tensor(BigInt64Array.from(ids, BigInt), { shape, device });
}

// Sums of decimal fractions may pass 1 by their rounding.
const tolerance = 1e-6;
