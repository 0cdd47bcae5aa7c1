// What networks cost by the shapes of their layers, against counts by hand and against each other.
import { describe, expect, test } from 'vitest';
import { multiplyAdds, parameterCount } from '../../examples/studies/tradeoff/compute.js';
import { family, stepsFor } from '../../examples/studies/tradeoff/family.js';
import { UNetModel, type UNetConfig } from '../../lib/index.js';

const flat: UNetConfig = {
  ...{ inChannels: 3, outChannels: 2, modelChannels: 4, numResBlocks: 1 },
  ...{ attentionResolutions: [], channelMult: [1], numHeads: 1, normGroups: 2 },
};

describe('multiply-adds', () => {
  test('of a network of one level', () => {
    const [M, pixels] = [4, 8 * 8];
    const embedding = M * 4 * M + 4 * M * 4 * M;
    const residual = (from: number) =>
      pixels * (9 * from * M + 9 * M * M + (from === M ? 0 : from * M)) + 4 * M * M;
    const attention = pixels * (3 * M * M + M * M) + 2 * pixels * pixels * M;
    const ends = pixels * 9 * (3 * M + M * 2);
    // one block down, two and an attention in the middle, two up that take the skips
    const expected = embedding + ends + 3 * residual(M) + attention + 2 * residual(2 * M);
    expect(multiplyAdds(flat, 8)).toBe(expected);
  });

  test('of resampling are those of the maps that it makes', () => {
    const plain = multiplyAdds({ ...flat, channelMult: [1, 1], convResample: false }, 8);
    const learned = multiplyAdds({ ...flat, channelMult: [1, 1] }, 8);
    // a convolution that gives 4 x 4 pixels, and one that gives 8 x 8
    expect(learned - plain).toBe(9 * 4 * 4 * (16 + 64));
  });

  test('grow with the pixels, but for time and attention', () => {
    const ratio = multiplyAdds(flat, 16) / multiplyAdds(flat, 8);
    expect(ratio).toBeGreaterThan(3.5);
    expect(ratio).toBeLessThan(16);
  });
});

test('parameters are counted as a network counts its own', () => {
  expect(parameterCount(flat)).toBe(new UNetModel(flat).parameterCount());
});

test('every training of the study takes the same compute', () => {
  const budget = 5e12;
  expect(family.map(({ f }) => f)).toEqual([1, 2, 4, 8, 16]);
  for (const member of family) {
    const spent = 3 * member.multiplyAdds * member.batch * stepsFor(member, budget);
    expect(Math.abs(spent / budget - 1)).toBeLessThan(0.01);
  }
  expect(family[0].multiplyAdds / family[4].multiplyAdds).toBeGreaterThan(200);
});
