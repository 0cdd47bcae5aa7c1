// Super-resolution: sizes, what the network sees, and models of other tasks.
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  buildLatentDiffusion,
  decodeTiled,
  LatentDiffusion,
  latentDiffusionPresets,
  noise,
  noGrad,
  tidy,
  upscale,
  upscalingFactor,
  type LatentDiffusionSpec,
  type Tensor,
  type UpscaleOptions,
} from '../../../lib/index.js';
import { plainSpec, shaken, tinySpec, values, withModel } from '../tiny_diffusion.js';
import { collectGarbage } from '../../support/collect_garbage.js';

/** Times 2: latents of half the picture's sides, joined to the small picture. */
function pairSpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  const spec = plainSpec();
  return {
    ...spec,
    unet: { ...spec.unet, inChannels: 6 },
    conditioner: { kind: 'identity' },
    conditioningKey: 'concat',
    scaleFactor: 0.5,
    ...changed,
  };
}

/** Times 4: pixels are diffused, and the small picture is enlarged before it is joined. */
const pixelSpec = (): LatentDiffusionSpec =>
  pairSpec({
    firstStage: { kind: 'identity' },
    conditioner: { kind: 'spatial-rescaler', nStages: 2, multiplier: 2, method: 'bicubic' },
  });

const small = (shape: number[], seed = 1): Tensor => noise(shape, { seed }).clamp(-1, 1);

const quick = { steps: 2, seed: 3 };

test('a picture that suits the network goes through as it is', () =>
  withModel(pairSpec(), async (model) => {
    const image = small([2, 8, 6, 3]);
    const made = await upscale(model, { image, ...quick });
    expect(made.shape).toEqual([2, 16, 12, 3]);
    const whole = { condition: image, size: [8, 6] as const, eta: 1, decodeBatch: 1 };
    const { images } = await model.sample({ ...whole, ...quick, seed: [3, 4] });
    expect(await values(made)).toEqual(await values(noGrad(() => images!.clamp(-1, 1))));
  }));

test.each([
  ['latents', pairSpec, 2],
  ['pixels', pixelSpec, 4],
])('any size becomes larger by the factor, of %s', (_what, spec, factor) =>
  withModel(spec(), async (model) => {
    expect(upscalingFactor(model.spec)).toBe(factor);
    for (const [h, w] of [
      [1, 1],
      [3, 8],
      [7, 5],
    ]) {
      const made = await upscale(model, { image: small([1, h, w, 3]), ...quick });
      expect(made.shape).toEqual([1, h * factor, w * factor, 3]);
      expect((await values(made)).every((value) => Math.abs(value) <= 1)).toBe(true);
    }
  }),
);

test('what lacks at the bottom and the right is mirrored', () =>
  withModel(pairSpec(), async (model) => {
    const image = small([1, 7, 5, 3]);
    const seen = vi.spyOn(LatentDiffusion.prototype, 'condition');
    onTestFinished(() => seen.mockRestore());
    const conditions: Promise<number[]>[] = [];
    seen.mockImplementation((input) => {
      conditions.push(values((input as Tensor).alias()));
      return { concat: input as Tensor };
    });
    await upscale(model, { image, ...quick });
    const [condition] = await Promise.all(conditions);
    const given = await values(image);
    const pixel = (from: number[], width: number, y: number, x: number) =>
      from.slice((y * width + x) * 3, (y * width + x) * 3 + 3);
    expect(condition.length).toBe(8 * 6 * 3);
    expect(pixel(condition, 6, 2, 4)).toEqual(pixel(given, 5, 2, 4));
    expect(pixel(condition, 6, 2, 5)).toEqual(pixel(given, 5, 2, 3));
    expect(pixel(condition, 6, 7, 1)).toEqual(pixel(given, 5, 5, 1));
  }));

test('each seed has a result of its own, which depends on the picture', () =>
  withModel(pairSpec(), async (model) => {
    const image = small([1, 4, 4, 3]);
    const made = async (options: object) =>
      values(await upscale(model, { image, ...quick, ...options }));
    const first = await made({});
    expect(await made({})).toEqual(first);
    expect(await made({ seed: 4 })).not.toEqual(first);
    expect(await made({ seed: undefined })).toEqual(await made({ seed: 0 }));
    expect(await made({ seed: [3] })).toEqual(first);
    await expect(made({ seed: [3, 4] })).rejects.toThrow('1 pictures need one seed, or 1 of them');
    expect(await made({ image: small([1, 4, 4, 3], 2) })).not.toEqual(first);
    expect(await made({ eta: 0 })).not.toEqual(first);
    expect(await made({ method: 'dpm-solver++' })).not.toEqual(first);
  }));

test('a large result is decoded in tiles', () =>
  withModel(pairSpec(), async (model) => {
    const image = small([1, 12, 8, 3]);
    const tiling = { tile: 6, overlap: 2 };
    const made = await upscale(model, { image, ...quick, tiling });
    const { latents } = await model.sample({
      condition: image,
      size: [12, 8],
      eta: 1,
      ...quick,
      decode: false,
    });
    const unscaled = noGrad(() => latents.div(0.5));
    const tiles = await decodeTiled(model.first_stage_model, unscaled, tiling);
    expect(await values(made)).toEqual(await values(noGrad(() => tiles.clamp(-1, 1))));
  }));

test('beyond twice the size of training the network goes patch by patch', () =>
  withModel(pairSpec(), async (model) => {
    const image = small([1, 20, 8, 3]);
    const made = async (options: object) =>
      values(await upscale(model, { image, ...quick, ...options }));
    const usual = await made({});
    const sampled = { condition: image, size: [20, 8] as const, eta: 1, decodeBatch: 1, ...quick };
    const { images } = await model.sample({ ...sampled, patches: { ks: 16 } });
    expect(usual).toEqual(await values(noGrad(() => images!.clamp(-1, 1))));
    expect(await made({ patches: { ks: 8, stride: 4 } })).not.toEqual(usual);
    const whole = await model.sample(sampled);
    expect(await made({ patches: null })).toEqual(
      await values(noGrad(() => whole.images!.clamp(-1, 1))),
    );
  }));

test('four times the area takes hardly more memory, in patches and tiles', () => {
  const spec = pairSpec();
  const wide = pairSpec({ unet: { ...spec.unet, modelChannels: 64, numHeads: 4 } });
  return withModel(wide, async (model) => {
    const { device } = model.betas;
    const peak = async (side: number, options: Partial<UpscaleOptions> = {}) => {
      const image = small([1, side, side, 3]);
      await device.synchronize();
      const { liveBytes } = device.memoryStats();
      device.resetPeak();
      await tidy(async () => {
        await upscale(model, { image, steps: 1, seed: 1, tiling: { tile: 8 }, ...options });
        await device.synchronize();
      });
      return device.memoryStats().peakBytes - liveBytes;
    };
    const [usual, larger] = [await peak(24), await peak(48)];
    expect(larger).toBeLessThan(1.3 * usual);
    // Without parts memory grows with the area.
    expect(await peak(48, { patches: null })).toBeGreaterThan(3 * larger);
    expect(await peak(48, { tiling: { tile: 48 } })).toBeGreaterThan(larger);
  });
});

test('it can be stopped', () =>
  withModel(pairSpec(), async (model) => {
    const stop = new AbortController();
    const stopped = upscale(model, {
      image: small([1, 4, 4, 3]),
      ...quick,
      signal: stop.signal,
      onStep: () => stop.abort(new Error('enough')),
    });
    await expect(stopped).rejects.toThrow('enough');
  }));

test('the published model makes pictures four times as large', () => {
  expect(upscalingFactor(latentDiffusionPresets.bsr_sr)).toBe(4);
});

describe('what it cannot do', () => {
  const { unet, firstStage, conditioner } = tinySpec();
  test.each<[string, LatentDiffusionSpec, RegExp]>([
    ['no condition', plainSpec(), /conditioned on nothing/],
    ['classes', { unet, firstStage, conditioner, conditioningKey: 'crossattn' }, /is class/],
    ['a masked picture', latentDiffusionPresets.inpainting_big, /is first-stage/],
    ['label maps', latentDiffusionPresets.semantic_synthesis256, /has 182 channels/],
    ['embeddings', latentDiffusionPresets.rdm, /key is crossattn/],
    [
      'pictures of four channels',
      pairSpec({ unet: { ...pairSpec().unet, inChannels: 7 } }),
      /has 4 channels/,
    ],
    [
      'pictures of the same size',
      pairSpec({ conditioner: { kind: 'spatial-rescaler' } }),
      /1 times as large/,
    ],
  ])('a model of %s', async (_what, spec, message) => {
    expect(() => upscalingFactor(spec)).toThrow(message);
    expect(() => upscalingFactor(spec)).toThrow(/made for another task.*'bsr_sr'/);
    const model = { spec } as LatentDiffusion;
    await expect(upscale(model, { image: small([1, 4, 4, 3]) })).rejects.toThrow(message);
  });

  test.each([[[4, 4, 3]], [[1, 4, 4, 1]], [[1, 0, 4, 3]]])('pictures of %j', (shape) =>
    tidy(async () => {
      const model = await shaken(pairSpec());
      await expect(upscale(model, { image: noise(shape, { seed: 1 }) })).rejects.toThrow(
        `expected pictures [N, h, w, 3]. Got shape [${shape.join(', ')}]`,
      );
      model.dispose();
    }),
  );

  test('it leaves nothing behind', async () => {
    const model = buildLatentDiffusion(pairSpec());
    const { device } = model.betas;
    const image = small([1, 7, 5, 3]);
    (await upscale(model, { image, ...quick })).dispose();
    await device.synchronize();
    await collectGarbage();
    const before = device.memoryStats().liveBytes;
    (await upscale(model, { image, ...quick })).dispose();
    await device.synchronize();
    expect(device.memoryStats().liveBytes).toBe(before);
    for (const each of [model, image]) each.dispose();
  });
});
