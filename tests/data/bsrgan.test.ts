// What the BSRGAN degradations draw, against the distributions of their specification, and whole degradations.
import { describe, expect, test } from 'vitest';
import { drawBsrgan, type BsrganVariant } from '../../lib/data/degradation/bsrgan.js';
import {
  applySteps,
  checkDegradation,
  degradationNames,
  degrade,
  type DegradationStep,
} from '../../lib/data/degradation/index.js';
import type { Pixels } from '../../lib/data/pixels.js';
import { pictureBytes } from './pictures.js';

const draws = 4000;
// Nothing is computed at this size; it tells a half from other shares.
const sides = { height: 64_000, width: 48_000 };
const key = (index: number) => ({ seed: 23, epoch: 0, index });

type Kind = DegradationStep['kind'];
type Step<K extends Kind> = Extract<DegradationStep, { kind: K }>;

interface Drawn {
  readonly all: DegradationStep[][];
  of<K extends Kind>(kind: K): Step<K>[];
}

const drawn = Object.fromEntries(
  (['bsrgan', 'bsrgan_light'] as const).map((name) => {
    const all = Array.from({ length: draws }, (_, i) => drawBsrgan(name, sides, 4, key(i)));
    const of = <K extends Kind>(kind: K) =>
      all.flat().filter((step): step is Step<K> => step.kind === kind);
    return [name, { all, of }];
  }),
) as Record<BsrganVariant, Drawn>;

/** Within 4.5 deviations of the mean of so many trials. */
function expectShare(count: number, trials: number, probability: number): void {
  const deviation = Math.sqrt((probability * (1 - probability)) / trials);
  expect(Math.abs(count / trials - probability)).toBeLessThan(4.5 * deviation);
}

function expectUniform(values: readonly number[], low: number, high: number): void {
  expect(Math.min(...values)).toBeGreaterThanOrEqual(low);
  expect(Math.max(...values)).toBeLessThanOrEqual(high);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = (high - low) / Math.sqrt(12 * values.length);
  expect(Math.abs(mean - (low + high) / 2)).toBeLessThan(4.5 * deviation);
  expectShare(values.filter((value) => value < low + (high - low) / 4).length, values.length, 0.25);
}

const integers = (low: number, high: number) =>
  Array.from({ length: high - low + 1 }, (_, i) => low + i);

const distinct = (values: readonly number[]) => [...new Set(values)].sort((a, b) => a - b);

// Whether the picture was halved first, so that 2 remained of the factor 4.
const wasHalved = ([first]: DegradationStep[]) =>
  first.kind === 'halve' ||
  (first.kind === 'resize' && first.height === sides.height / 2 && first.width === sides.width / 2);

const firstShrinking = (steps: DegradationStep[]) =>
  steps
    .slice(wasHalved(steps) ? 1 : 0)
    .find(({ kind }) => kind === 'resize' || kind === 'decimate')! as Step<'resize' | 'decimate'>;

describe.each([
  {
    name: 'bsrgan' as const,
    blurs: 2,
    narrower: 1,
    anisotropic: integers(2, 11).map((j) => 2 * j + 3),
    isotropic: integers(2, 11).map((j) => 2 * j + 3),
    resized: 0.75,
    noise: [2, 25] as const,
    jpeg: [30, 95] as const,
  },
  {
    name: 'bsrgan_light' as const,
    blurs: 1,
    narrower: 4,
    anisotropic: integers(2, 11).map((j) => j + 3),
    isotropic: integers(2, 4).map((j) => j + 3),
    resized: 0.8,
    noise: [1, 2] as const,
    jpeg: [80, 95] as const,
  },
])('$name', ({ name, blurs, narrower, anisotropic, isotropic, resized, noise, jpeg }) => {
  const { all, of } = drawn[name];
  const kept = all.filter((steps) => !wasHalved(steps));

  test('halves a quarter of all pictures first, half of these as MATLAB does', () => {
    expectShare(draws - kept.length, draws, 0.25);
    expectShare(of('halve').length, draws, 0.125);
  });

  test('draws its blurs', () => {
    const [round, stretched] = [of('blur'), of('anisotropic-blur')];
    expect(round.length + stretched.length).toBe(blurs * draws);
    expectShare(round.length, blurs * draws, 0.5);
    expect(distinct(round.map(({ size }) => size))).toEqual(isotropic);
    expect(distinct(stretched.map(({ size }) => size))).toEqual(anisotropic);
    expectUniform(
      stretched.map(({ theta }) => theta),
      0,
      Math.PI,
    );
    const inKept = kept.flat();
    const widths = inKept.flatMap((step) => (step.kind === 'blur' ? [step.sigma] : []));
    expectUniform(widths, 0, 2.8 / narrower);
    const variances = inKept.flatMap((step) =>
      step.kind === 'anisotropic-blur' ? [step.l1, step.l2] : [],
    );
    expectUniform(variances, 0, 8 / narrower);
  });

  test('shrinks by a resize or by a shifted kernel, then to the size wanted', () => {
    const decimated = of('decimate');
    expectShare(decimated.length, draws, 1 - resized);
    expect(distinct(decimated.map(({ size }) => size))).toEqual([25]);
    const fours = decimated.filter(({ factor }) => factor === 4);
    expect(decimated.every(({ factor }) => factor === 4 || factor === 2)).toBe(true);
    expectUniform(
      fours.map(({ sigma }) => sigma),
      0.1,
      2.4,
    );
    const shrunk = kept.map(firstShrinking).filter((step) => step.kind === 'resize');
    // a share uniform in [1, 8): half of all are beyond 4.5
    expectShare(shrunk.filter(({ height }) => height < 64_000 / 4.5).length, shrunk.length, 0.5);
    for (const steps of all) {
      const last = steps.findLast(({ kind }) => kind === 'resize') as Step<'resize'>;
      expect(last).toMatchObject({ height: 16_000, width: 12_000 });
      expect(steps.indexOf(firstShrinking(steps))).toBeLessThan(steps.indexOf(last));
    }
    const filters = of('resize').map(({ filter }) => filter);
    for (const filter of ['linear', 'cubic', 'area'])
      expectShare(filters.filter((each) => each === filter).length, filters.length, 1 / 3);
  });

  test('draws its noise', () => {
    const steps = of('noise');
    expect(steps.length).toBe(draws);
    const forms = { colour: 0.4, grey: 0.4, correlated: 0.2 };
    for (const [form, share] of Object.entries(forms))
      expectShare(steps.filter((step) => step.form === form).length, draws, share);
    const levels = steps.flatMap((step) =>
      step.form === 'correlated' ? [] : [Math.round(step.deviation * 255)],
    );
    expect(distinct(levels)).toEqual(integers(noise[0], noise[1]));
    expectShare(
      levels.filter((level) => level === noise[0]).length,
      levels.length,
      1 / (noise[1] - noise[0] + 1),
    );
    for (const step of steps)
      if (step.form === 'correlated') {
        expect(step.covariance.every((each) => each >= 0)).toBe(true);
        expect(step.covariance[0]).toBeLessThanOrEqual((noise[1] / 255) ** 2);
      }
  });

  test('ends with JPEG, and has it once more nine times out of ten', () => {
    const qualities = of('jpeg').map(({ quality }) => quality);
    expect(all.every((steps) => steps.at(-1)!.kind === 'jpeg')).toBe(true);
    expectShare(qualities.length - draws, draws, 0.9);
    expect(distinct(qualities)).toEqual(integers(jpeg[0], jpeg[1]));
  });

  test('takes the steps in any order but for the two shrinkings', () => {
    const isNoise = ({ kind }: DegradationStep) => kind === 'noise';
    const blurFirst = kept.filter((steps) => {
      const blurAt = steps.findIndex(({ kind }) => kind.endsWith('blur'));
      return blurAt < steps.findIndex(isNoise);
    });
    // of one or two blurs and the noise, any may be the first
    expectShare(blurFirst.length, kept.length, blurs / (blurs + 1));
    const noiseBefore = kept.filter(
      (steps) => steps.findIndex(isNoise) < steps.indexOf(firstShrinking(steps)),
    );
    // of three places the shrinkings take the first and the second in a third of all orders
    expectShare(noiseBefore.length, kept.length, 1 / 3);
  });
});

const image = (height: number, width: number, channels: 1 | 3 = 3): Pixels => ({
  data: pictureBytes(1, { width, height, channels }),
  width,
  height,
  channels,
});

describe.each(degradationNames)('%s', (name) => {
  test.each([
    [1, 1, 4],
    [3, 2, 4],
    [4, 4, 4],
    [17, 33, 4],
    [64, 5, 3],
    [6, 6, 1],
    [10, 12, 2],
  ])('takes %i x %i by %i', async (height, width, factor) => {
    for (const channels of [1, 3] as const)
      for (let index = 0; index < 3; ++index) {
        const made = await degrade(image(height, width, channels), name, factor, key(index));
        const wanted = [height, width].map((side) => Math.max(1, Math.floor(side / factor)));
        expect([made.image.height, made.image.width, made.image.channels]).toEqual([
          ...wanted,
          channels,
        ]);
        expect(made.image.data.length).toBe(wanted[0] * wanted[1] * channels);
      }
  });

  test('is a function of picture and key', async () => {
    const picture = image(32, 32);
    const before = picture.data.slice();
    const bytes = async (index: number, epoch = 0) =>
      (await degrade(picture, name, 4, { seed: 1, epoch, index })).image.data;
    expect(await bytes(5)).toEqual(await bytes(5));
    const isDrawn = name.startsWith('bsrgan');
    expect(Buffer.from(await bytes(5)).equals(await bytes(6))).toBe(!isDrawn);
    expect(Buffer.from(await bytes(5)).equals(await bytes(5, 1))).toBe(!isDrawn);
    expect(picture.data).toEqual(before);
  });
});

test('the steps that come back make the same picture again, from their JSON as well', async () => {
  const picture = image(40, 24);
  for (let index = 0; index < 12; ++index) {
    const { image: made, steps } = await degrade(picture, 'bsrgan', 4, key(index));
    const told = JSON.parse(JSON.stringify(steps)) as DegradationStep[];
    expect((await applySteps(picture, 4, told)).data).toEqual(made.data);
  }
});

test('a flat picture keeps its colour but for noise and JPEG', async () => {
  const flat = { data: new Uint8Array(64 * 64 * 3).fill(128), width: 64, height: 64, channels: 3 };
  for (let index = 0; index < 20; ++index) {
    const steps = drawBsrgan('bsrgan', flat, 4, key(index)).filter(
      ({ kind }) => kind !== 'noise' && kind !== 'jpeg',
    );
    const { data } = await applySteps(flat, 4, steps);
    expect([...data].every((byte) => byte === 128)).toBe(true);
  }
});

describe('what is impossible is refused', () => {
  test.each<[string, number, RegExp]>([
    ['bsrgan_lite', 4, /there is no 'bsrgan_lite'.*bsrgan_light/],
    ['', 4, /there is no ''/],
    ['bsrgan', 0, /an integer from 1 to 64, got 0/],
    ['bsrgan', 2.5, /got 2.5/],
    ['pil_box', 65, /got 65/],
    ['pil_box', NaN, /got NaN/],
  ])('%s by %d', (name, factor, message) => {
    expect(() => checkDegradation(name, factor)).toThrow(message);
  });

  test.each<[string, Partial<Pixels>]>([
    ['bytes that lack', { data: new Uint8Array(5) }],
    ['no rows', { data: new Uint8Array(0), height: 0 }],
    ['four channels', { data: new Uint8Array(64), channels: 4 }],
    ['a side beyond JPEG', { data: new Uint8Array(3 * 65_536), width: 65_536, height: 1 }],
    ['half a column', { width: 3.5 }],
  ])('%s', async (_what, changed) => {
    const picture = { ...image(4, 4), ...changed };
    await expect(degrade(picture, 'bsrgan', 4, key(0))).rejects.toThrow(/a picture has sides/);
  });
});
