/** Layout-to-image synthesis (paper, section 4.3.1): pictures of things in the places that boxes give them. */
import { tensor } from '../../creation.js';
import type { Device } from '../../device.js';
import { ArgumentError, check } from '../../errors.js';
import { suggestion } from '../../suggestion.js';
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
import type { LatentDiffusion, LatentSamples, SampleOptions } from '../diffusion/index.js';

/** A thing that is wanted, in shares of the picture from its upper left corner. */
export interface WantedBox extends RelativeBox, ObjectFlags {
  /** its name, or its number */
  readonly category: string | number;
}

export interface LayoutToImageOptions extends Omit<
  SampleOptions,
  'condition' | 'conditioning' | 'unconditional' | 'unconditionalConditioning' | 'image' | 'initial'
> {
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
 *   seed: 1,
 * });
 * ```
 *
 * @returns as `LatentDiffusion.sample`
 * @throws ArgumentError when the model takes no layouts, a category does not exist, a box is not inside the
 *   picture, or there are more boxes than the model has places for
 */
export function layoutToImage(
  model: LatentDiffusion,
  { boxes, categories, view, ...sampling }: LayoutToImageOptions,
): Promise<LatentSamples> {
  const tokens = layoutVocabulary(model.conditioner, categories.length);
  const objects = layoutObjects(tokens, boxes, categories);
  const { seed, count = Array.isArray(seed) ? seed.length : 1 } = sampling;
  const { device } = model.betas;
  return tidy(() => {
    const layouts = (each: readonly LayoutObject[]) =>
      layoutIds(
        tokens,
        Array.from({ length: count }, () => ({ objects: each, view })),
        device,
      );
    return model.sample({
      ...sampling,
      count,
      condition: layouts(objects),
      ...(isGuided(sampling) && { unconditional: withoutObjects(model, layouts([])) }),
    });
  });
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
  return boxes.map((box, i) => {
    const { category, x, y, width, height } = box;
    const inside = x >= 0 && y >= 0 && x + width <= 1 + tolerance && y + height <= 1 + tolerance;
    check(inside && width > 0 && height > 0, () => {
      return (
        `layoutToImage: box ${i} (${category}) must lie in the picture, from 0 to 1 in both directions, and have ` +
        `an area. Got x ${x}, y ${y}, width ${width}, height ${height}.`
      );
    });
    return { ...box, category: numberOf(category, categories, i) };
  });
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

const isGuided = ({ guidance = 1 }: SampleOptions): boolean => guidance !== 1;

// What the model was trained to take for nothing, or else a picture without objects.
function withoutObjects({ conditioner }: LatentDiffusion, empty: Tensor): Tensor {
  const token = conditioner.kind === 'bert' ? conditioner.unconditionalToken : undefined;
  return token === undefined ? empty : empty.mul(0).add(token);
}

function numberOf(category: string | number, names: readonly string[], box: number): number {
  if (typeof category === 'number') {
    check(Number.isInteger(category) && category >= 0 && category < names.length, () => {
      return `layoutToImage: box ${box}: categories are numbered from 0 to ${names.length - 1}. Got ${category}.`;
    });
    return category;
  }
  const number = names.indexOf(category);
  if (number >= 0) return number;
  const hint = suggestion(category, names) || ` There are ${names.slice(0, 12).join(', ')}`;
  const more = hint.startsWith(' There') ? (names.length > 12 ? ', ...' : '.') : '';
  throw new ArgumentError(
    `layoutToImage: box ${box}: there is no category '${category}'.${hint}${more}`,
  );
}
