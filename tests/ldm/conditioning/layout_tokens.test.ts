// Layouts as tokens, against sequences that the original's arithmetic gives in Python.
import { describe, expect, it } from 'vitest';
import { LayoutTokens, type LayoutObject } from '../../../lib/index.js';

const objects: LayoutObject[] = [
  { category: 7, x: 0.1, y: 0.2, width: 0.5, height: 0.5 },
  { category: 339, x: 0.5, y: 0.5, width: 0.5, height: 0.5, isGroupOf: true, isInside: true },
  { category: 12, x: 0.9, y: 0.05, width: 0.2, height: 0.1, isOccluded: true },
  { category: 3, x: 0.05, y: 0.9, width: 0.05, height: 0.1 },
];
// The last two lie outside.
const crop = { x: 0.125, y: 0, width: 0.75, height: 1 };
const openImages = { categories: 340, groupParameter: true, additionalParameters: true };

describe('encoding', () => {
  const present = (encodeCrop: boolean, mirrored: boolean): number[] => {
    const tokens = new LayoutTokens({ ...openImages, encodeCrop });
    const ids = tokens.encode(objects, { crop, mirrored });
    expect(ids.length).toBe(tokens.length);
    expect(ids.slice(6, 90)).toEqual(Array(84).fill(8191));
    return ids.filter((id) => id !== 8191);
  };

  it('keeps boxes of the whole picture and adds the part that is seen', () => {
    expect(present(true, false)).toEqual([7, 1629, 5633, 3399, 4004, 8099, 11, 8088]);
    expect(present(true, true)).toEqual([7, 1656, 5660, 3399, 3960, 8054, 11, 8088]);
  });

  it('or moves them to the part', () => {
    expect(present(false, false)).toEqual([7, 1620, 5639, 3399, 4004, 8099]);
    expect(present(false, true)).toEqual([7, 1650, 5669, 3399, 3960, 8054]);
  });

  it('rounds halves to the even place of a grid of 90 x 90', () => {
    const tokens = new LayoutTokens({ categories: 1 });
    expect([tokens.length, tokens.none, tokens.sections]).toEqual([92, 8191, 90]);
    const corner = (x: number, y: number) =>
      tokens.encode([{ category: 0, x: x / 89, y: y / 89, width: 0.1, height: 0.1 }])[1];
    expect([corner(0.5, 0), corner(1.5, 0), corner(2.5, 1.5)]).toEqual([0, 2, 182]);
    expect(tokens.encode([]).slice(-2)).toEqual([0, 8099]);
  });

  it('takes the first 30 objects, and marks nothing unless asked to', () => {
    const many = Array.from({ length: 40 }, (_, i) => ({
      ...objects[0],
      category: i,
      isGroupOf: true,
    }));
    const ids = new LayoutTokens({ categories: 171 }).encode(many);
    expect(ids.filter((_, i) => i < 90 && i % 3 === 0)).toEqual(
      Array.from({ length: 30 }, (_, i) => i),
    );
  });

  it('says what is wrong', () => {
    const tokens = new LayoutTokens({ categories: 3 });
    const box = { x: 0, y: 0, width: 1, height: 1 };
    expect(() => tokens.encode([{ category: 3, ...box }])).toThrow(
      'category of object 0 must be an integer from 0 to 2. Got 3',
    );
    expect(() => tokens.encode([{ category: 0, ...box, x: NaN }])).toThrow(
      'object 0 must have finite',
    );
    expect(() => tokens.encode([{ category: 0, ...box, width: -1 }])).toThrow(
      'width and height of at least 0',
    );
    expect(() => tokens.encode([], { crop: { ...box, width: 0 } })).toThrow('has no area');
    expect(() => new LayoutTokens({ ...openImages, categories: 600 })).toThrow(
      '600 categories take 9600 class tokens; a vocabulary of 8192 has 8191',
    );
  });
});

describe('decoding', () => {
  it('gives back what was encoded, to the accuracy of the grid', () => {
    const tokens = new LayoutTokens(openImages);
    const { objects: found, crop: seen } = tokens.decode(tokens.encode(objects, { crop }));
    expect(found.map(({ category }) => category)).toEqual([7, 339]);
    expect(found[1]).toMatchObject({ isGroupOf: true, isInside: true });
    expect(found[1]).not.toHaveProperty('isOccluded');
    for (const [i, box] of [...found, seen!].entries())
      for (const side of ['x', 'y', 'width', 'height'] as const)
        expect(Math.abs(box[side] - [...objects.slice(0, 2), crop][i][side])).toBeLessThan(1 / 89);
    // What lies on the grid comes back as it was.
    expect(tokens.encode(found, { crop: seen })).toEqual(tokens.encode(objects, { crop }));
  });

  it('refuses what is no layout', () => {
    const tokens = new LayoutTokens({ categories: 5, maxObjects: 1 });
    expect(() => tokens.decode([1, 2])).toThrow('a layout has 5 tokens. Got 2');
    expect(() => tokens.decode([5, 0, 0, 0, 0])).toThrow('5 is no token of a class');
    expect(() => tokens.decode([4, 8191, 0, 0, 0])).toThrow('8191 is no token of a place');
    expect(() => tokens.decode([-1, 0, 0, 0, 0])).toThrow('-1 is no token of a class');
  });
});
