// A small network that knows emoji: features for evaluation where Inception's weights are out of reach.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { checkFloating, checkTensors } from '../checks.js';
import { checkShape } from '../errors.js';
import { readSafetensors } from '../io/safetensors.js';
import { Conv2d, GroupNorm, Linear, Module, Sequential } from '../nn/index.js';
import { resize } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

/** The side that pictures are resized to. */
const side = 64;
const features = 128;

/** The classes of {@link EmojiExtractor}, by the position of their logit. */
export const emojiCategories = [
  'Activities',
  'Animals & Nature',
  'Flags',
  'Food & Drink',
  'Objects',
  'People & Body',
  'Smileys & Emotion',
  'Symbols',
  'Travel & Places',
] as const;

/** What {@link EmojiExtractor} says of pictures. */
export interface EmojiOutputs {
  /** [N, 128], the last layer averaged over the pixels */
  readonly features: Tensor;
  /** [N, 9], see {@link emojiCategories} */
  readonly logits: Tensor;
}

/**
 * A classifier of the nine categories of emoji, 64 x 64 pixels on white. Its features tell how close sets of such
 * drawings are in FID's way, offline and in no time; the numbers compare with each other only, never with
 * published ones.
 */
export class EmojiExtractor extends Module<[Tensor], EmojiOutputs> {
  readonly layers = new Sequential(
    ...stage(3, 24, 2),
    ...stage(24, 48, 2),
    ...stage(48, 48, 1),
    ...stage(48, 96, 2),
    ...stage(96, features, 1),
  );
  readonly classifier = new Linear(features, emojiCategories.length);

  /**
   * @param pictures [N, H, W, 3] in [-1, 1], floating; other sizes than 64 x 64 are resized, bilinear with
   *   antialiasing
   */
  forward(pictures: Tensor): EmojiOutputs {
    checkTensors('EmojiExtractor', { pictures });
    checkFloating('EmojiExtractor', { pictures });
    checkShape(pictures.rank === 4 && pictures.shape[3] === 3, () => {
      return `EmojiExtractor: expected pictures [N, H, W, 3], got [${pictures.shape.join(', ')}]`;
    });
    return tidy(() => {
      const averaged = this.layers.forward(fitted(pictures)).mean([1, 2]);
      return { features: averaged, logits: this.classifier.forward(averaged) };
    });
  }
}

function stage(from: number, to: number, stride: 1 | 2): [Conv2d, GroupNorm] {
  return [
    new Conv2d(from, to, { kernelSize: 3, stride, padding: 1 }),
    new GroupNorm(8, to, { activation: 'silu' }),
  ];
}

function fitted(x: Tensor): Tensor {
  const [, H, W] = x.shape;
  if (H === side && W === side) return x;
  return resize(x, { size: [side, side], mode: 'bilinear', antialias: true });
}

/** Where the package keeps the weights that {@link loadEmojiExtractor} loads. */
export const emojiExtractorFile: string = join(
  // The package knows itself by its own name, from the sources and from dist/ alike.
  dirname(createRequire(import.meta.url).resolve('emulsion/package.json')),
  'assets/emoji_extractor.safetensors',
);

/** The network with the weights that come with the package, in eval mode; examples/emoji_extractor made them. */
export async function loadEmojiExtractor(): Promise<EmojiExtractor> {
  const network = new EmojiExtractor();
  await network.importState(await readSafetensors(emojiExtractorFile));
  network.eval().requiresGrad_(false);
  return network;
}
