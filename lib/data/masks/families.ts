// What masks look like, as plain data. The named ones are those of LaMa (Suvorov et al., "Resolution-robust Large
// Mask Inpainting with Fourier Convolutions", and its published configurations), whose protocol the paper follows.
import { check } from '../../errors.js';

/** From and to, both included. */
export type Range = readonly [least: number, most: number];

/**
 * Strokes of a brush, each a chain of one to five straight pieces that turns by whole radians. Lengths are in
 * pixels of a picture whose smaller side has 256, and grow with it.
 */
export interface StrokeFamily {
  readonly kind: 'strokes';
  /** strokes in a mask */
  readonly count: Range;
  /** of each piece */
  readonly length: Range;
  readonly width: Range;
}

/** Upright rectangles. Lengths as in {@link StrokeFamily}. */
export interface BoxFamily {
  readonly kind: 'boxes';
  readonly count: Range;
  readonly side: Range;
  /** what stays known along the picture's sides */
  readonly margin: number;
}

/** Borders along the sides of the picture, at least one: outpainting. */
export interface BorderFamily {
  readonly kind: 'border';
  /** width of a border as a share of the picture's extent across it */
  readonly share: Range;
  /** how likely each side is to have one: left, top, right, bottom */
  readonly chances: readonly [number, number, number, number];
}

/** One of several families, chosen anew for each mask. */
export interface MaskMixture {
  readonly kind: 'mixture';
  /** weights need not sum to 1 */
  readonly of: readonly { readonly weight: number; readonly family: MaskFamily }[];
}

export type MaskFamily = StrokeFamily | BoxFamily | BorderFamily | MaskMixture;

const thickStrokes: StrokeFamily = {
  kind: 'strokes',
  count: [1, 6],
  length: [10, 209],
  width: [5, 104],
};
const boxes: BoxFamily = { kind: 'boxes', count: [1, 4], side: [30, 150], margin: 10 };

const mostlyStrokes = (strokes: StrokeFamily, beside: BoxFamily): MaskMixture => ({
  kind: 'mixture',
  of: [
    { weight: 1, family: strokes },
    { weight: 0.3, family: beside },
  ],
});

/**
 * Families by name. LaMa was trained on `wide`; `thick`, `medium` and `thin` are its three sets to measure with,
 * of which masks of more than half the picture were left out (`most: 0.5`); `border` is its outpainting.
 */
export const maskFamilies = {
  wide: {
    kind: 'mixture',
    of: [
      { weight: 1, family: thickStrokes },
      { weight: 1, family: boxes },
    ],
  },
  thick: mostlyStrokes(thickStrokes, { ...boxes, count: [1, 3] }),
  medium: mostlyStrokes(
    { kind: 'strokes', count: [4, 6], length: [10, 109], width: [5, 54] },
    { kind: 'boxes', count: [1, 5], side: [10, 50], margin: 0 },
  ),
  thin: { kind: 'strokes', count: [4, 51], length: [10, 49], width: [5, 14] },
  boxes,
  border: { kind: 'border', share: [0.04, 0.25], chances: [0.5, 0.5, 0.5, 0.5] },
} as const satisfies Record<string, MaskFamily>;

export type MaskFamilyName = keyof typeof maskFamilies;

const most = 2 ** 20;

/** Checks a family from outside. @throws ArgumentError that names what is impossible in it */
export function checkMaskFamily(family: MaskFamily): void {
  const within = (name: string, [low, high]: Range, from: number, to: number): void =>
    check(from <= low && low <= high && high <= to, () => {
      return `masks: ${name} must be a range [least, most] within ${from} and ${to}. Got [${low}, ${high}].`;
    });
  switch (family.kind) {
    case 'strokes':
      within('count of strokes', family.count, 1, 1000);
      within('length of strokes', family.length, 0, most);
      return within('width of strokes', family.width, 0, most);
    case 'boxes':
      within('count of boxes', family.count, 1, 1000);
      within('side of boxes', family.side, 1, most);
      return check(family.margin >= 0 && family.margin < 128, () => {
        return `masks: the margin of boxes must lie in [0, 128). Got ${family.margin}.`;
      });
    case 'border':
      within('share of borders', family.share, 0, 1);
      return check(
        family.chances.every((chance) => chance >= 0 && chance <= 1) &&
          family.chances.some((chance) => chance > 0),
        () => {
          return (
            'masks: chances of borders lie in [0, 1], and one of them above 0. ' +
            `Got ${family.chances.join(', ')}.`
          );
        },
      );
    case 'mixture':
      check(
        family.of.every(({ weight }) => weight >= 0 && Number.isFinite(weight)) &&
          family.of.some(({ weight }) => weight > 0),
        () => {
          const weights = family.of.map(({ weight }) => weight).join(', ');
          return `masks: weights of a mixture are at least 0, and one of them above. Got ${weights || 'none'}.`;
        },
      );
      return family.of.forEach(({ family: each }) => checkMaskFamily(each));
    default:
      check(false, () => {
        const { kind } = family as { kind: unknown };
        return `masks: kind must be strokes, boxes, border or mixture. Got '${String(kind)}'.`;
      });
  }
}
