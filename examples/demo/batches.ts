// Which pictures a step sees, and how: a function of seed and step alone, so that an interrupted run goes
// on with the very batch it would have seen.
import { tensor, type Tensor } from '../../lib/index.js';
import { side, type EmojiSet } from './emoji.js';

// Streams keep the numbers of different purposes apart under one seed.
export const streams = { autoencoder: 1, diffusion: 2, posterior: 3, noise: 4 } as const;

/** Walks through `members` in a fresh order each epoch. */
export class Order {
  private epoch = -1;
  private order: number[] = [];

  constructor(
    private readonly members: readonly number[],
    private readonly seed: number,
    private readonly stream: number,
  ) {}

  /** The `count` members that step number `step` sees. */
  at(step: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.member(step * count + i));
  }

  private member(position: number): number {
    const epoch = Math.floor(position / this.members.length);
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.order = shuffled(this.members.length, random(this.seed, this.stream + 100, epoch));
    }
    return this.members[this.order[position % this.members.length]];
  }
}

// Fisher and Yates.
function shuffled(count: number, draw: () => number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; --i) {
    const j = Math.floor(draw() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** How a picture is shown: mirrored, and shifted by whole pixels over the white border. */
export interface Placement {
  index: number;
  mirrored: boolean;
  shiftX: number;
  shiftY: number;
}

/** Pictures as a batch [N, 64, 64, 3] in [-1, 1]. */
export function pictureBatch(set: EmojiSet, placements: readonly Placement[]): Tensor {
  const values = new Float32Array(placements.length * side * side * 3).fill(1);
  placements.forEach(({ index, mirrored, shiftX, shiftY }, n) => {
    const from = index * side * side * 3;
    for (let y = 0; y < side; ++y) {
      const sourceY = y - shiftY;
      if (sourceY < 0 || sourceY >= side) continue;
      for (let x = 0; x < side; ++x) {
        const sourceX = mirrored ? side - 1 - (x - shiftX) : x - shiftX;
        if (sourceX < 0 || sourceX >= side) continue;
        const source = from + (sourceY * side + sourceX) * 3;
        const target = ((n * side + y) * side + x) * 3;
        for (let c = 0; c < 3; ++c) values[target + c] = set.pixels[source + c] / 127.5 - 1;
      }
    }
  });
  return tensor(values, { shape: [placements.length, side, side, 3] });
}

/** Pictures as they are. */
export const plainBatch = (set: EmojiSet, indices: readonly number[]): Tensor =>
  pictureBatch(
    set,
    indices.map((index) => ({ index, mirrored: false, shiftX: 0, shiftY: 0 })),
  );

/** Uniform numbers in [0, 1) that depend on seed, stream and step alone (SplitMix32). */
export function random(seed: number, stream: number, step: number): () => number {
  let state =
    (Math.imul(seed, 0x9e3779b1) ^ Math.imul(stream, 0x85ebca6b) ^ Math.imul(step, 0xc2b2ae35)) | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 4294967296;
  };
}
