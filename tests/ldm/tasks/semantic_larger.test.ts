// Trained small, sampled larger: a network that learns in seconds what colour each label has.
import { expect, test } from 'vitest';
import { philox } from '../../../lib/data/philox.js';
import {
  AdamW,
  buildLatentDiffusion,
  manualSeed,
  noise,
  semanticToImage,
  tensor,
  tidy,
  type LatentDiffusionSpec,
  type PatchOptions,
} from '../../../lib/index.js';

const side = 16;
const colours = [
  [-0.8, -0.8, 0.8],
  [0.8, -0.6, -0.6],
  [-0.6, 0.8, -0.2],
];

const spec: LatentDiffusionSpec = {
  unet: {
    imageSize: side,
    inChannels: 6,
    outChannels: 3,
    modelChannels: 16,
    numResBlocks: 1,
    attentionResolutions: [8],
    channelMult: [1, 2],
    numHeads: 2,
    normGroups: 4,
  },
  firstStage: { kind: 'identity' },
  conditioner: { kind: 'spatial-rescaler', nStages: 0, inChannels: 3, outChannels: 3 },
  conditioningKey: 'concat',
  conditionerTrainable: true,
  // the picture itself is learnt in a few steps, its noise in thousands
  diffusion: { parameterization: 'x0' },
};

/** Labels in rectangles, as a function of the number. */
function labelsOf(number: number, height: number, width: number): Int32Array {
  const map = new Int32Array(height * width);
  for (let block = 0; block < (height * width) / 32; ++block) {
    const [a, b, c, d] = philox(5, 1, number, 0, block);
    const [top, left] = [a % height, b % width];
    const [rows, columns] = [3 + (c % 7), 3 + (d % 7)];
    for (let y = top; y < Math.min(height, top + rows); ++y)
      map.fill((a >>> 8) % 3, y * width + left, y * width + Math.min(width, left + columns));
  }
  return map;
}

const batch = 6;
const draw = (step: number) => {
  const maps = Array.from({ length: batch }, (_, i) => [...labelsOf(batch * step + i, side, side)]);
  const ids = maps.flat();
  const shape = [batch, side, side, 3];
  const hot = Float32Array.from({ length: 3 * ids.length }, (_, i) => {
    return Number(ids[Math.floor(i / 3)] === i % 3);
  });
  return {
    images: tensor(Float32Array.from(ids.flatMap((id) => colours[id])), { shape }),
    condition: tensor(hot, { shape }),
  };
};

/** The label whose colour a pixel is nearest to. */
function seen(pixels: Float32Array, i: number): number {
  const distances = colours.map((colour) =>
    colour.reduce((sum, value, c) => sum + (value - pixels[3 * i + c]) ** 2, 0),
  );
  return distances.indexOf(Math.min(...distances));
}

const maps = 3;
const [height, width] = [36, 52];
const mean = (all: readonly number[]) => all.reduce((sum, x) => sum + x, 0) / all.length;

/** Where patches of an axis begin or end inside of it. */
function bordersOf(length: number, stride: number): Set<number> {
  const starts = new Set([length - side]);
  for (let at = 0; at + side < length; at += stride) starts.add(at);
  const borders = [...starts].flatMap((start) => [start, start + side]);
  return new Set(borders.filter((border) => border > 0 && border < length));
}

/** How much neighbours of one label differ where patches meet, as a share of how much others do. */
function jumps(pixels: Float32Array, ids: Int32Array, stride: number): number {
  const [border, inside]: [number[], number[]] = [[], []];
  for (const [step, length] of [
    [1, width],
    [width, height],
  ]) {
    const borders = bordersOf(length, stride);
    for (let i = 0; i < ids.length; ++i) {
      const at = Math.floor(i / step) % length;
      if (at === 0 || ids[i] !== ids[i - step]) continue;
      const [here, before] = [i, i - step].map((pixel) =>
        pixels.subarray(3 * pixel, 3 * pixel + 3),
      );
      const jump = here.reduce((sum, value, c) => sum + Math.abs(value - before[c]), 0);
      (borders.has(at) ? border : inside).push(jump);
    }
  }
  return mean(border) / mean(inside);
}

test('a canvas of seven times the area has its labels where the map has them, and no seams', async () => {
  manualSeed(1);
  const model = buildLatentDiffusion(spec);
  const optimizer = new AdamW(model.trainedParameters(), { lr: 3e-3 });
  for (let step = 0; step < 60; ++step)
    tidy(() => {
      const words = [...philox(7, 2, step, 0, 0), ...philox(7, 2, step, 0, 1)].slice(0, batch);
      const t = tensor(BigInt64Array.from(words, (word) => BigInt(word % 1000)));
      const epsilon = noise([batch, side, side, 3], { seed: 3, step });
      model.loss(draw(step), { t, noise: epsilon }).loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
    });

  const ids = Int32Array.from(
    Array.from({ length: maps }, (_, i) => [...labelsOf(2 ** 31 + i, height, width)]).flat(),
  );
  const map = tensor(ids, { shape: [maps, height, width] });
  const sampled = async (patches?: PatchOptions | null) => {
    const { images, latents } = await semanticToImage(model, { map, patches, steps: 8, seed: 4 });
    const pixels = (await images!.data()) as Float32Array;
    for (const each of [images!, latents]) each.dispose();
    return pixels;
  };
  const whole = await sampled(null);
  // Of the same places in a canvas that was made at once, which has no seams: maps have their own ways there.
  const seams = (pixels: Float32Array, stride: number) =>
    jumps(pixels, ids, stride) / jumps(whole, ids, stride);
  const blended = await sampled();
  expect(ids.filter((id, i) => seen(blended, i) === id).length / ids.length).toBeGreaterThan(0.95);
  expect(seams(blended, side / 2)).toBeLessThan(1.03);
  const apart = await sampled({ ks: side, stride: side });
  expect(seams(apart, side)).toBeGreaterThan(1.08);
  map.dispose();
  model.dispose();
});
