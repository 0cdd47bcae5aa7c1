// The demo's pictures as a data set like any other.
import { MemoryImages } from '../../lib/index.js';
import { side, type EmojiSet } from './emoji.js';

/** The pictures of the set, labelled with their categories, for a DataLoader with `transform: { size: side }`. */
export function emojiDataset({ pixels, category }: EmojiSet): MemoryImages {
  return new MemoryImages(pixels, { width: side, height: side, channels: 3, labels: category });
}
