// What samples are asked for, as pictures beside them.
import { describe, expect, it, vi } from 'vitest';
import {
  buildLatentDiffusion,
  captionCondition,
  HybridConditions,
  LayoutConditions,
  LayoutTokens,
  MaskedPictures,
  noise,
  randn,
  tensor,
  TextTokenizer,
  tidy,
  type ConditionWords,
  type DiffusionBatch,
  type DrawnBox,
  type FirstStageSpec,
  type LatentDiffusion,
  type SampleOptions,
  type Tensor,
} from '../../lib/index.js';
import { wrapped } from '../../lib/io/draw_text.js';
import { conditionPictures } from '../../lib/train/condition_pictures.js';
import { diffusionPictures } from '../../lib/train/diffusion_pictures.js';
import { int64, plainSpec, shaken, tinySpec, values } from '../ldm/tiny_diffusion.js';

const size = [16, 16] as const;
const drawn = async (condition: Parameters<typeof conditionPictures>[0], words = {}) => {
  const { conditioning } = await conditionPictures(condition, size, words);
  return conditioning;
};
/** The tiles of a grid of two, with their border of two pixels. */
const tiles = (grid: Tensor) => {
  const side = grid.shape[0] - 4;
  return [2, side + 4].map((from) => values(grid.narrow(0, 2, side).narrow(1, from, side)));
};

const darkest = (pixels: readonly number[]) => pixels.reduce((a, b) => Math.min(a, b));

describe('conditions are drawn', () => {
  it('as the names of their classes', async () => {
    const grid = await drawn(int64(1, 0), { classNames: ['cat', 'dog'] });
    expect(grid.shape).toEqual([260, 2 * 258 + 2, 3]);
    const [dog, cat] = await Promise.all(tiles(grid));
    expect(dog).not.toEqual(cat);
    expect(darkest(dog)).toBeLessThan(-0.9); // black on white
    expect(dog.filter((x) => x > 0.99).length).toBeGreaterThan(0.8 * dog.length);
    const [again, number] = await Promise.all(
      tiles(await drawn(int64(1, 2), { classNames: ['cat', 'dog'] })),
    );
    expect(again).toEqual(dog);
    const [plain] = await Promise.all(tiles(await drawn(int64(2, 3))));
    expect(plain).toEqual(number);
  });

  it('as captions, which tokens spell', async () => {
    const tokenizer = TextTokenizer.fromTexts(['a red fox', 'snow'], { length: 8 });
    const { describe } = captionCondition(tokenizer);
    const ids = tokenizer.encode(['a red fox', '']);
    const [fox, nothing] = await Promise.all(tiles(await drawn(ids, { describe })));
    expect(darkest(fox)).toBeLessThan(-0.9);
    expect(darkest(nothing)).toBe(1);
    expect(await drawn(ids)).toBeUndefined();
  });

  it('as boxes where they are seen', async () => {
    const tokens = new LayoutTokens({ categories: 2, maxObjects: 2 });
    const source = new LayoutConditions(tokens, ['sky']);
    const box = { category: 0, x: 0.5, y: 0, width: 0.5, height: 0.5 };
    const whole = tokens.encode([box]);
    const half = tokens.encode([{ ...box, category: 1 }], {
      crop: { x: 0.5, y: 0, width: 0.5, height: 1 },
    });
    const [[first], [second]] = source.describe([whole, half]) as DrawnBox[][];
    expect(first).toMatchObject({ label: 'sky', y: 0 });
    expect(second).toMatchObject({ label: '1', y: 0 });
    expect([first.x, second.x]).toEqual([expect.closeTo(0.5, 1), expect.closeTo(0, 1)]);
    const describe = (rows: readonly (readonly number[])[]) => source.describe(rows);
    const grid = await drawn(int64(...whole, ...half).reshape([2, whole.length]), { describe });
    const [right, left] = await Promise.all(tiles(grid));
    const blue = (x: number[], row: number, column: number) =>
      x[(row * 256 + column) * 3 + 2] - x[(row * 256 + column) * 3];
    // the middle of the upper edge: of the right half, and of all of it
    expect(blue(right, 1, 64)).toBe(0);
    expect(blue(right, 1, 192)).toBeGreaterThan(0.5);
    expect(blue(left, 1, 64)).toBeGreaterThan(0.5);
  });

  it('as maps, in a colour for each label', async () => {
    const labels = tensor(Float32Array.of(1, 0, 0, 0, 0, 0, 1, 0), { shape: [1, 1, 2, 4] });
    const [a, b] = (await values(await drawn(labels))).reduce<number[][]>(
      (pixels, value, i) =>
        i % 3 === 0 ? [...pixels, [value]] : (pixels.at(-1)!.push(value), pixels),
      [],
    );
    expect(a).not.toEqual(b);
    const small = randn([2, 4, 4, 3]);
    expect((await drawn(small)).shape).toEqual([8, 14, 3]);
  });

  it('as pictures with holes, and the words beside them', async () => {
    const image = noise([2, 8, 8, 3], { seed: 1 }).clamp(-1, 1);
    const masked = { image, mask: noise([2, 8, 8, 1], { seed: 2 }) };
    const alone = await conditionPictures(masked, size, {});
    expect(Object.keys(alone)).toEqual(['conditioning']);
    const tokenizer = TextTokenizer.fromTexts(['fox'], { length: 4 });
    const source = new HybridConditions(new MaskedPictures(), captionCondition(tokenizer));
    const both = await conditionPictures(
      { concat: masked, crossattn: tokenizer.encode(['fox', 'fox']) },
      size,
      { describe: (rows) => source.describe(rows) },
    );
    expect(Object.keys(both)).toEqual(['conditioning', 'conditioning_text']);
    expect(await values(both.conditioning)).toEqual(await values(alone.conditioning));
  });

  it('not where they are embeddings', async () => {
    expect(await drawn(randn([2, 3, 6]))).toBeUndefined();
  });

  it('in lines that fit', () => {
    expect(wrapped('a red fox', 5)).toEqual(['a red', 'fox']);
    expect(wrapped('incomprehensible a', 7)).toEqual(['incompr', 'ehensib', 'le a']);
    expect(wrapped('', 5)).toEqual([]);
  });
});

describe('a training draws', () => {
  /** Grids, and what every run of the sampler was told. */
  async function pictures(model: LatentDiffusion, batch: DiffusionBatch, options = {}) {
    const sample = vi.spyOn(model, 'sample');
    const told: SampleOptions[] = [];
    const grids = await diffusionPictures(model, batch, {
      ...{ seed: 1, maxImages: 2, sampling: { steps: 2 }, ...options },
    });
    told.push(...sample.mock.calls.map(([each]) => each));
    sample.mockRestore();
    return { names: Object.keys(grids), grids, told };
  }
  const image = noise([2, 16, 16, 3], { seed: 3 });

  it('what it was asked for, and what fits around known parts', () =>
    tidy(async () => {
      const model = await shaken(tinySpec());
      const describe = (): ConditionWords[] => [];
      const batch = { images: image, condition: int64(0, 1) };
      const { names, grids, told } = await pictures(model, batch, { describe });
      expect(names).toEqual([
        ...['inputs', 'reconstructions', 'conditioning', 'diffusion_row', 'samples'],
        ...[
          'samples_inpainting',
          'mask',
          'samples_outpainting',
          'denoising_row',
          'progressive_row',
        ],
      ]);
      const masks = told.slice(1).map(({ mask }) => mask!);
      expect(masks.map(({ keep }) => keep.shape)).toEqual([
        [2, 8, 8, 1],
        [2, 8, 8, 1],
      ]);
      const [around, middle] = await Promise.all(masks.map(({ keep }) => values(keep)));
      expect(middle).toEqual(around.map((x) => 1 - x));
      // rows and columns 2 to 5 of 8 are the hole
      expect(around.slice(0, 64).filter((x) => x === 0).length).toBe(16);
      expect(around.slice(16, 24)).toEqual([1, 1, 0, 0, 0, 0, 1, 1]);
      const mask = await values(grids.mask);
      expect(grids.mask.shape).toEqual([16, 16, 3]);
      expect([mask[0], mask[(8 * 16 + 8) * 3]]).toEqual([1, -1]);
      // the same runs but for the mask
      for (const { mask: _, onStep: __, ...rest } of told)
        expect(rest).toEqual(expect.objectContaining({ count: 2, seed: 1, steps: 2 }));
      model.dispose();
    }));

  it('samples of codes, where there are any', () =>
    tidy(async () => {
      const { ddconfig } = plainSpec().firstStage as Extract<FirstStageSpec, { kind: 'kl' }>;
      const model = buildLatentDiffusion(
        plainSpec({ firstStage: { kind: 'vq', embedDim: 3, nEmbed: 8, ddconfig } }),
      );
      const { names, told } = await pictures(model, { images: image }, { inpaint: false });
      expect(names).toContain('samples_x0_quantized');
      expect(names).not.toContain('mask');
      expect(told.map(({ quantizeX0 }) => quantizeX0)).toEqual([undefined, true]);
      const without = { inpaint: false, quantizeDenoised: false };
      expect((await pictures(model, { images: image }, without)).told.length).toBe(1);
      model.dispose();
    }));

  it('samples of a schedule that is shorter than what is usual', () =>
    tidy(async () => {
      const model = await shaken(plainSpec({ diffusion: { timesteps: 12 } }));
      const { grids } = await pictures(
        model,
        { images: image },
        { sampling: undefined, inpaint: false },
      );
      // timesteps 0 and 11, and as many columns as ever
      expect(grids.diffusion_row.shape[1]).toBe(2 * 18 + 2);
      expect(grids.denoising_row.shape[1]).toBe(6 * 18 + 2);
      model.dispose();
    }));

  it('every hundredth timestep unless told', () =>
    tidy(async () => {
      const model = await shaken(plainSpec());
      const { grids } = await pictures(model, { images: image }, { inpaint: false });
      expect(grids.diffusion_row.shape[1]).toBe(11 * 18 + 2);
      model.dispose();
    }));
});
