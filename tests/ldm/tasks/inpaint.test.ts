// Inpainting: what is known stays to the bit, what is hidden is never looked at, and what networks are told.
import { describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  inpaint,
  inpaintingMode,
  latentDiffusionPresets,
  noise,
  prepareInpainting,
  ShapeError,
  tensor,
  tidy,
  uniformNoise,
  withBorders,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
  type Tensor,
} from '../../../lib/index.js';
import { int64, plainSpec, tinySpec, values, withModel } from '../tiny_diffusion.js';

/** As `inpainting_big`: latents of the masked picture and the mask are joined. */
const inpaintingSpec = (): LatentDiffusionSpec => {
  const plain = plainSpec();
  return {
    ...plain,
    unet: { ...plain.unet, inChannels: 7 },
    conditioner: { kind: 'first-stage' },
    conditioningKey: 'concat',
  };
};

const models: [string, LatentDiffusionSpec, Pick<SampleOptions, 'condition' | 'guidance'>][] = [
  ['a model of masked pictures', inpaintingSpec(), {}],
  ['a model of nothing', plainSpec(), {}],
  ['a model of classes with guidance', tinySpec(), { condition: int64(1, 3), guidance: 2 }],
];

// No side is a multiple of what networks need, 4 pixels.
const [N, H, W] = [2, 13, 18];
const picture = () => uniformNoise([N, H, W, 3], { seed: 8 }).mul(2).sub(1);
/** A hole of its own in each of two pictures. */
const isHole = (n: number, y: number, x: number) =>
  n === 0 ? y >= 3 && y < 8 && x >= 5 && x < 11 : x > 13;
const maskValues = Float32Array.from({ length: N * H * W }, (_, i) =>
  isHole(Math.floor(i / (H * W)), Math.floor(i / W) % H, i % W) ? 1 : 0,
);
const mask = () => tensor(maskValues, { shape: [N, H, W, 1] });
const brief = { steps: 3, seed: [1, 2] };

/** Replaces what lies under the holes. */
async function hiding(image: Tensor, value: number): Promise<Tensor> {
  const x = await values(image);
  return tensor(
    Float32Array.from(x, (v, i) => (maskValues[Math.floor(i / 3)] ? value : v)),
    {
      shape: image.shape,
    },
  );
}

describe.each(models)('%s', (_, spec, options) => {
  test('keeps what is known to the bit and makes the rest', () =>
    withModel(spec, async (model) => {
      const image = picture();
      const made = await inpaint(model, { image, mask: mask(), ...brief, ...options });
      expect(made.shape).toEqual([N, H, W, 3]);
      const [before, after] = [await values(image), await values(made)];
      let changed = 0;
      after.forEach((value, i) => {
        if (!maskValues[Math.floor(i / 3)]) expect(value).toBe(before[i]);
        else {
          expect(Math.abs(value)).toBeLessThanOrEqual(1);
          changed += value === before[i] ? 0 : 1;
        }
      });
      expect(changed).toBeGreaterThan(200);
    }));

  test('never looks under the holes, and follows the seed', () =>
    withModel(spec, async (model) => {
      const run = async (image: Tensor, seed: number | number[] = brief.seed) =>
        values(await inpaint(model, { image, mask: mask(), ...brief, ...options, seed }));
      const made = await run(picture());
      expect(await run(await hiding(picture(), NaN))).toEqual(made);
      expect(await run(picture(), [1, 3])).not.toEqual(made);
      // one number stands for it and those that follow
      expect(await run(picture(), 1)).toEqual(made);
    }));
});

describe('what the network is told', () => {
  const told = async (model: LatentDiffusion) => {
    const { sampling } = await prepareInpainting(model, { image: picture(), mask: mask() });
    return sampling;
  };
  /** Where the padded picture of 16 x 20 repeats the one of 13 x 18. */
  const inside = (n: number, y: number, x: number) =>
    [n, Math.min(y, H - 1), Math.min(x, W - 1)] as const;

  test('of masked pictures: holes black, the mask -1 and 1, as the authors program it', () =>
    withModel(inpaintingSpec(), async (model) => {
      const { condition, size, mask: kept } = await told(model);
      expect([size, kept]).toEqual([[8, 10], undefined]);
      const { image: masked, mask: channel } = condition as { image: Tensor; mask: Tensor };
      expect([masked.shape, channel.shape]).toEqual([
        [N, 16, 20, 3],
        [N, 16, 20, 1],
      ]);
      const [x, m, source] = [await values(masked), await values(channel), await values(picture())];
      m.forEach((value, i) => {
        const [n, y, px] = inside(Math.floor(i / 320), Math.floor(i / 20) % 16, i % 20);
        expect(value).toBe(isHole(n, y, px) ? 1 : -1);
        const expected = isHole(n, y, px) ? -1 : source[((n * H + y) * W + px) * 3 + 1];
        expect(x[i * 3 + 1]).toBe(expected);
      });
      // latents of the masked picture first, neither quantised nor scaled; then every second pixel of the mask
      const { concat } = model.condition({ image: masked, mask: channel });
      const joined = await values(concat!);
      const latents = await values(model.first_stage_model.encodeToLatents(masked));
      expect(concat!.shape).toEqual([N, 8, 10, 4]);
      for (let i = 0; i < N * 80; ++i) {
        expect(joined.slice(i * 4, i * 4 + 3)).toEqual(latents.slice(i * 3, i * 3 + 3));
        const [n, y, px] = [Math.floor(i / 80), Math.floor(i / 10) % 8, i % 10];
        expect(joined[i * 4 + 3]).toBe(m[(n * 16 + 2 * y) * 20 + 2 * px]);
      }
    }));

  test('of nothing: latents of cells that are wholly known', () =>
    withModel(plainSpec(), async (model) => {
      const { mask: kept, condition } = await told(model);
      expect(condition).toBeUndefined();
      expect([kept!.keep.shape, kept!.known.shape]).toEqual([
        [N, 8, 10, 1],
        [N, 8, 10, 3],
      ]);
      (await values(kept!.keep)).forEach((keep, i) => {
        const [n, y, x] = [Math.floor(i / 80), Math.floor(i / 10) % 8, i % 10];
        const holes = [0, 1].flatMap((dy) =>
          [0, 1].map((dx) => isHole(...inside(n, 2 * y + dy, 2 * x + dx))),
        );
        expect(keep).toBe(holes.some(Boolean) ? 0 : 1);
      });
    }));
});

test('a picture without anything known is made as a whole', () =>
  withModel(plainSpec(), async (model) => {
    const all = tensor(new Float32Array(H * W).fill(1), { shape: [1, H, W, 1] });
    const made = await values(await inpaint(model, { image: picture(), mask: all, ...brief }));
    expect(made.every((value) => Math.abs(value) <= 1)).toBe(true);
  }));

test('one mask serves a batch', () =>
  withModel(plainSpec(), async (model) => {
    const one = tensor(maskValues.slice(0, H * W), { shape: [1, H, W, 1] });
    const both = tensor(
      new Float32Array([...maskValues.slice(0, H * W), ...maskValues.slice(0, H * W)]),
      {
        shape: [2, H, W, 1],
      },
    );
    const run = async (each: Tensor) =>
      values(await inpaint(model, { image: picture(), mask: each, ...brief }));
    expect(await run(one)).toEqual(await run(both));
  }));

test('a soft edge changes known pixels beside holes, and only those', () =>
  withModel(plainSpec(), async (model) => {
    const seam = 3;
    const image = picture();
    const hard = await values(await inpaint(model, { image, mask: mask(), ...brief }));
    const soft = await values(
      await inpaint(model, { image, mask: mask(), ...brief, softEdge: seam }),
    );
    const before = await values(image);
    let changed = 0;
    for (let i = 0; i < hard.length; ++i) {
      const pixel = Math.floor(i / 3);
      const [n, y, x] = [Math.floor(pixel / (H * W)), Math.floor(pixel / W) % H, pixel % W];
      const near = (reach: number) => {
        for (let dy = -reach; dy <= reach; ++dy)
          for (let dx = -reach; dx <= reach; ++dx) {
            const [ny, nx] = [y + dy, x + dx];
            if (ny >= 0 && ny < H && nx >= 0 && nx < W && isHole(n, ny, nx)) return true;
          }
        return false;
      };
      if (isHole(n, y, x)) expect(soft[i]).toBe(hard[i]);
      else if (!near(seam)) expect(soft[i]).toBe(before[i]);
      else changed += soft[i] === before[i] ? 0 : 1;
    }
    expect(changed).toBeGreaterThan(100);
  }));

test('a mask of another size is brought to the picture only where asked', () =>
  withModel(plainSpec(), async (model) => {
    const small = tensor([0, 1, 1, 0], { shape: [1, 2, 2, 1] });
    const image = noise([1, 8, 8, 3], { seed: 1 });
    await expect(inpaint(model, { image, mask: small, seed: 1, steps: 2 })).rejects.toThrow(
      /resizeMask.*\[1, 8, 8, 3\].*\[1, 2, 2, 1\]/,
    );
    const options = { image, mask: small, resizeMask: true, seed: 1, steps: 2 };
    const [made, before] = [await values(await inpaint(model, options)), await values(image)];
    made.forEach((value, i) => {
      const [y, x] = [Math.floor(i / 24), Math.floor(i / 3) % 8];
      if (y < 4 === x < 4) expect(value).toBe(before[i]);
      else expect(value).not.toBe(before[i]);
    });
  }));

describe('refused', () => {
  const square = (value: number, side = 8) =>
    tensor(new Float32Array(side * side).fill(value), { shape: [1, side, side, 1] });
  test.each([
    ['a mask without a hole', () => ({ mask: square(0.4) }), ArgumentError, /no hole/],
    ['a mask of -1 and 1', () => ({ mask: square(-1) }), ArgumentError, /from -1 to -1/],
    ['a mask of NaN', () => ({ mask: square(NaN) }), ArgumentError, /NaN/],
    [
      'a mask without channels',
      () => ({ mask: square(1).reshape([1, 8, 8]) }),
      ShapeError,
      /\[1, 8, 8\]/,
    ],
    [
      'masks for other pictures',
      () => ({ mask: tensor(new Float32Array(192), { shape: [3, 8, 8, 1] }) }),
      ShapeError,
      /N or 1/,
    ],
    ['a seam of half a pixel', () => ({ softEdge: 0.5 }), ArgumentError, /softEdge/],
  ] as const)('%s', (_, change, kind, message) =>
    withModel(plainSpec(), async (model) => {
      const image = noise([2, 8, 8, 3], { seed: 1 });
      const failing = tidy(async () =>
        inpaint(model, { image, mask: square(1), seed: 1, steps: 2, ...change() }),
      );
      await expect(failing).rejects.toThrow(kind);
      await expect(failing).rejects.toThrow(message);
    }),
  );

  test('a mask without a hole for one of two pictures', () =>
    withModel(plainSpec(), async (model) => {
      const half = Float32Array.from({ length: 128 }, (_, i) => (i < 64 ? 1 : 0));
      const options = { image: noise([2, 8, 8, 3], { seed: 1 }), seed: 1 };
      const mask = tensor(half, { shape: [2, 8, 8, 1] });
      await expect(inpaint(model, { ...options, mask })).rejects.toThrow(/no hole/);
    }));

  test('models for other tasks', () => {
    expect(inpaintingMode(latentDiffusionPresets.inpainting_big)).toBe('conditioned');
    for (const name of ['celeba256', 'cin256', 'txt2img-1p4B', 'rdm'] as const)
      expect(inpaintingMode(latentDiffusionPresets[name])).toBe('guided');
    for (const name of ['bsr_sr', 'semantic_synthesis256'] as const)
      expect(() => inpaintingMode(latentDiffusionPresets[name])).toThrow(/another task/);
  });

  test('a condition beside the masked picture', () =>
    withModel(inpaintingSpec(), (model) => {
      const sampled = vi.spyOn(model, 'sample');
      const options = { image: picture(), mask: mask(), condition: int64(1) };
      expect(() => inpaint(model, options)).toThrow(/leave the condition out/);
      expect(sampled).not.toHaveBeenCalled();
      return Promise.resolve();
    }));
});

describe('borders', () => {
  test('make room around a picture, and its mask', async () => {
    await tidy(async () => {
      const image = tensor([0.1, 0.2], { shape: [1, 1, 2, 1] });
      const grown = withBorders(image, { left: 1, bottom: 1 });
      expect([grown.image.shape, grown.mask.shape]).toEqual([
        [1, 2, 3, 1],
        [1, 2, 3, 1],
      ]);
      expect(await values(grown.mask)).toEqual([1, 0, 0, 1, 1, 1]);
      expect((await values(grown.image)).slice(1, 3)).toEqual(await values(image));
    });
  });

  test.each([
    [{ left: -1 }, /-1, 0, 0, 0/],
    [{ top: 0.5 }, /whole numbers/],
    [{}, /no border/],
    [{ right: 1e9 }, /too many/],
  ])('%j are refused', (borders, message) =>
    tidy(() => {
      const image = tensor([0.1, 0.2], { shape: [1, 1, 2, 1] });
      expect(() => withBorders(image, borders)).toThrow(message);
    }),
  );
});
