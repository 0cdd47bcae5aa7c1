// The emoji for the study: all but every twentieth to train on, the rest to measure with.
import { DataLoader, tensor, type Tensor } from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { isHeldOut, loadEmoji, side, type EmojiSet } from '../../demo/emoji.js';

export interface Pictures {
  readonly training: EmojiSet;
  readonly heldOut: EmojiSet;
}

export async function loadPictures(limit?: number): Promise<Pictures> {
  const set = await loadEmoji(limit);
  return {
    training: subset(set, (index) => !isHeldOut(index)),
    heldOut: subset(set, isHeldOut),
  };
}

export function subset(set: EmojiSet, chosen: (index: number) => boolean): EmojiSet {
  const bytes = side * side * 3;
  const indices = Array.from({ length: set.count }, (_, i) => i).filter(chosen);
  const pixels = new Uint8Array(indices.length * bytes);
  indices.forEach((index, i) =>
    pixels.set(set.pixels.subarray(index * bytes, (index + 1) * bytes), i * bytes),
  );
  return {
    pixels,
    count: indices.length,
    categories: set.categories,
    captions: indices.map((index) => set.captions[index]),
    category: indices.map((index) => set.category[index]),
  };
}

/** Training batches, half of the drawings mirrored. */
export function trainingBatches(set: EmojiSet, batchSize: number, seed: number): DataLoader {
  const transform = { size: side, flip: 0.5 };
  // In memory and at their size already: there is nothing for threads to do.
  return new DataLoader(emojiDataset(set), { batchSize, seed, transform, workers: 0 });
}

/** All pictures of a set as one tensor [N, 64, 64, 3] in [-1, 1]. */
export function allPictures({ pixels, count }: EmojiSet): Tensor {
  const values = Float32Array.from(pixels, (byte) => byte / 127.5 - 1);
  return tensor(values, { shape: [count, side, side, 3] });
}
