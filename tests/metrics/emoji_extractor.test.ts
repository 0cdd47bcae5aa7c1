// The extractor that comes with the package: it knows held-out drawings, and tells damaged ones from sound ones.
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  clamp,
  emojiCategories,
  FeatureStatistics,
  frechetDistance,
  loadEmojiExtractor,
  noGrad,
  noise,
  resize,
  ShapeError,
  tidy,
  zeros,
  type EmojiExtractor,
  type Tensor,
} from '../../lib/index.js';
import { plainBatch } from '../../examples/demo/batches.js';
import { isHeldOut, loadEmoji, type EmojiSet } from '../../examples/demo/emoji.js';

let network: EmojiExtractor;
let emoji: EmojiSet;
let heldOut: number[];

beforeAll(async () => {
  network = await loadEmojiExtractor();
  emoji = await loadEmoji();
  heldOut = emoji.category.flatMap((_, index) => (isHeldOut(index) ? [index] : []));
});

afterAll(() => network.dispose());

const features = (pictures: Tensor): Tensor =>
  tidy(() => noGrad(() => network.forward(pictures).features));

async function momentsOf(pictures: Tensor) {
  const statistics = new FeatureStatistics();
  await tidy(() => statistics.update(features(pictures)));
  return statistics.moments();
}

test('it names the category of most held-out drawings', async () => {
  const logits = await tidy(() =>
    noGrad(() => network.forward(plainBatch(emoji, heldOut)).logits.data()),
  );
  const classes = emojiCategories.length;
  const right = heldOut.filter((index, n) => {
    const row = Array.from(logits as Float32Array).slice(n * classes, (n + 1) * classes);
    return (
      emojiCategories[row.indexOf(Math.max(...row))] === emoji.categories[emoji.category[index]]
    );
  });
  expect(right.length / heldOut.length).toBeGreaterThan(0.65);
});

test('the worse pictures are, the further their features lie from those of sound ones', async () => {
  await tidy(async () => {
    const every = (step: number, first: number) =>
      plainBatch(
        emoji,
        Array.from({ length: Math.floor(emoji.count / step) }, (_, i) => step * i + first),
      );
    const blurred = (x: Tensor, side: number): Tensor =>
      resize(resize(x, { size: [side, side], mode: 'area' }), {
        size: [64, 64],
        mode: 'bilinear',
      });
    const [sound, others] = [await momentsOf(every(4, 0)), every(4, 1)];
    const grain = noise(others.shape, { seed: 0 });
    const distances: number[] = [];
    for (const pictures of [others, blurred(others, 16), blurred(others, 8), grain])
      distances.push(await frechetDistance(sound, await momentsOf(pictures)));
    for (const [i, distance] of distances.slice(1).entries())
      expect(distance).toBeGreaterThan(2 * distances[i]);
    const grainy = await momentsOf(clamp(others.add(grain.mul(0.4)), -1, 1));
    expect(await frechetDistance(sound, grainy)).toBeGreaterThan(2 * distances[0]);
  });
});

test('pictures of other sizes are resized, and those of 64 pixels are not', async () => {
  await tidy(async () => {
    const small = plainBatch(emoji, heldOut.slice(0, 2));
    const large = resize(small, { size: [192, 192], mode: 'bilinear' });
    const difference = await features(small).sub(features(large)).abs().max().item();
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(0.2);
  });
});

test('one picture without its batch is refused', () => {
  expect(() => network.forward(zeros([64, 64, 3]))).toThrow(ShapeError);
});
