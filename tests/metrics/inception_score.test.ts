import { expect, test } from 'vitest';
import {
  concat,
  Generator,
  indexSelect,
  inceptionScore,
  noise,
  oneHot,
  softmax,
  tensor,
  zeros,
} from '../../lib/index.js';

const logits = noise([500, 12], { seed: 1, dtype: 'float64', device: 'cpu' }).mul(2);

test('is the number of classes for sure and even answers, 1 for answers that say nothing', async () => {
  const classes = tensor(Int32Array.from({ length: 200 }, (_, i) => i % 20));
  const sure = oneHot(classes, 20).to('float32');
  const probabilities = { input: 'probabilities' } as const;
  expect((await inceptionScore(sure, probabilities)).mean).toBeCloseTo(20, 12);
  expect((await inceptionScore(sure.mul(1000))).mean).toBeCloseTo(20, 12);
  expect(await inceptionScore(zeros([30, 5]))).toEqual({ mean: 1, std: 0 });
});

test('logits and their probabilities agree, and a constant added to a row changes nothing', async () => {
  const { mean, std } = await inceptionScore(logits);
  const probabilities = await inceptionScore(softmax(logits, 1), { input: 'probabilities' });
  expect(probabilities.mean).toBeCloseTo(mean, 12);
  expect(probabilities.std).toBeCloseTo(std, 12);
  expect((await inceptionScore(logits.add(5000))).mean).toBeCloseTo(mean, 9);
});

test('splits are consecutive, and cover numbers that they do not divide', async () => {
  // The borders of three splits of 100 are ⌊100 s / 3⌋.
  const sizes = [33, 33, 34];
  const scores: number[] = [];
  let begin = 0;
  for (const size of sizes) {
    scores.push((await inceptionScore(logits.narrow(0, begin, size), { splits: 1 })).mean);
    begin += size;
  }
  const { mean } = await inceptionScore(logits.narrow(0, 0, 100), { splits: 3 });
  expect(mean).toBeCloseTo(scores.reduce((a, b) => a + b) / 3, 12);
});

test('one split does not depend on the order, and shuffling mends an order by classes', async () => {
  const order = new Generator(2).permutation(500, { device: 'cpu' });
  const whole = await inceptionScore(logits, { splits: 1 });
  const shuffled = await inceptionScore(indexSelect(logits, 0, order), { splits: 1 });
  expect(shuffled.mean).toBeCloseTo(whole.mean, 12);

  const byClass = concat(
    Array.from({ length: 10 }, (_, c) => oneHot(tensor(new Int32Array(50).fill(c)), 10).mul(50)),
  ).to('float32');
  expect((await inceptionScore(byClass)).mean).toBeCloseTo(1, 6);
  const mended = await inceptionScore(byClass, { shuffleSeed: 3 });
  expect(mended.mean).toBeGreaterThan(8);
  expect(await inceptionScore(byClass, { shuffleSeed: 3 })).toEqual(mended);
});

test('what is no distribution, too few samples and NaN are named', async () => {
  const probabilities = { input: 'probabilities', splits: 1 } as const;
  await expect(
    inceptionScore(
      tensor([
        [0.5, 0.5],
        [0.5, 0.4],
      ]),
      probabilities,
    ),
  ).rejects.toThrow(/row 1 is no distribution/);
  await expect(inceptionScore(tensor([[1.5, -0.5]]), probabilities)).rejects.toThrow(/row 0/);
  await expect(inceptionScore(zeros([9, 3]))).rejects.toThrow(/9 samples.*at least 10/);
  await expect(inceptionScore(tensor([[0, NaN]]), { splits: 1 })).rejects.toThrow(
    /NaN in row 0, column 1/,
  );
  await expect(inceptionScore(logits, { splits: 0 })).rejects.toThrow(/splits must be/);
  await expect(inceptionScore(logits, { input: 'odds' as never })).rejects.toThrow(/got odds/);
});
