// A short soak; `npm run soak` is the long one.
import { expect, test } from 'vitest';
import { checkFlat, trainTiny } from './support/tiny_training.js';

test('8,000 training steps hold a flat line', async () => {
  const samples = await trainTiny(8000, 16);
  checkFlat(samples);
  expect(samples.at(-1)!.loss).toBeLessThan(samples[0].loss);
});
