import { expect, test } from 'vitest';
import { permutation, philox, uniforms } from '../../lib/data/philox.js';
import { Generator } from '../../lib/index.js';

test('the numbers are those of the native generator', async () => {
  for (const [seed, stream, step] of [
    [0, 0, 0],
    [23, 7, 3],
    [-5, 2 ** 32 - 1, 2 ** 32 - 1],
    [2 ** 40 + 12345, 0xda7a_0002, 99],
  ]) {
    const generator = new Generator(seed, { stream });
    generator.setState({ seed, stream, step });
    const samples = [0, 1, 2 ** 32 - 1];
    const native = await generator.uniform([3, 4], { sampleIds: samples, device: 'cpu' }).data();
    expect(samples.flatMap((sample) => uniforms(seed, stream, step, sample))).toEqual(
      Array.from(native, Number),
    );
  }
});

test('the published answer of Philox 4x32-10 for a key and counter of zeros', () => {
  expect(philox(0, 0, 0, 0, 0)).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
});

test('a permutation holds every number once, and belongs to its seed and epoch', () => {
  const order = permutation(1000, 23, 5);
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  expect(permutation(1000, 23, 5)).toEqual(order);
  expect(permutation(1000, 23, 6)).not.toEqual(order);
  expect(permutation(1000, 24, 5)).not.toEqual(order);
  expect([...permutation(1, 1, 1)]).toEqual([0]);
  // Whoever changes these numbers changes the order of every training.
  expect([...permutation(8, 23, 0)]).toMatchInlineSnapshot(`
    [
      4,
      6,
      5,
      0,
      7,
      3,
      1,
      2,
    ]
  `);
});

test('every place of a permutation is reached about equally often', () => {
  const counts = new Array<number>(25).fill(0);
  for (let epoch = 0; epoch < 5000; ++epoch)
    permutation(5, 1, epoch).forEach((value, place) => ++counts[value * 5 + place]);
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
