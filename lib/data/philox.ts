// Philox 4x32-10 on this side of the border: the numbers of native/core/philox.h, for decisions that are made
// before there is a tensor. Nothing here has a state.

/** Sequences of the data layer: far from the small numbers that models and samplers use. */
export const streams = {
  order: 0xda7a_0001,
  sample: 0xda7a_0002,
  replacement: 0xda7a_0003,
  degradation: 0xda7a_0010,
  degradationNoise: 0xda7a_0011,
  captions: 0xda7a_0020,
  objects: 0xda7a_0030,
  masks: 0xda7a_0040,
};

/** Four words that depend on the key alone. */
export function philox(
  seed: number,
  stream: number,
  step: number,
  sample: number,
  block: number,
): [number, number, number, number] {
  let key0 = seed >>> 0;
  let key1 = Math.floor(seed / 2 ** 32) >>> 0;
  let [c0, c1, c2, c3] = [block >>> 0, step >>> 0, sample >>> 0, stream >>> 0];
  for (let round = 0; round < 10; ++round) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 = (key0 + 0x9e3779b9) | 0;
    key1 = (key1 + 0xbb67ae85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** As {@link philox}, uniform in [0, 1): multiples of 2^-24, which float32 holds exactly. */
export function uniforms(
  seed: number,
  stream: number,
  step: number,
  sample: number,
): [number, number, number, number] {
  const words = philox(seed, stream, step, sample, 0);
  return words.map((word) => (word >>> 8) / 2 ** 24) as [number, number, number, number];
}

/** 0, 1, ..., count - 1 in an order that depends on seed and epoch alone (Fisher and Yates). */
export function permutation(count: number, seed: number, epoch: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; ++i) order[i] = i;
  let words: readonly number[] = [];
  for (let i = count - 1, drawn = 0; i > 0; --i, ++drawn) {
    if (drawn % 4 === 0) words = philox(seed, streams.order, epoch, 0, drawn / 4);
    const j = Math.floor((words[drawn % 4] / 2 ** 32) * (i + 1));
    const moved = order[i];
    order[i] = order[j];
    order[j] = moved;
  }
  return order;
}

// The upper 32 bits of the product of two 32-bit numbers, from 16-bit halves.
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow] = [a >>> 16, a & 0xffff];
  const [bHigh, bLow] = [b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carried = aLow * bHigh + (middle % 0x10000);
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carried / 0x10000);
}
