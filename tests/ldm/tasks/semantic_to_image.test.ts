// Pictures of label maps: of any size, with bounded memory, and what is refused.
import { describe, expect, it } from 'vitest';
import {
  arange,
  defaultDevice,
  eq,
  full,
  noise,
  pad,
  SemanticCanvas,
  semanticToImage,
  tensor,
  tidy,
  type LatentDiffusion,
  type SemanticToImageOptions,
  type Tensor,
} from '../../../lib/index.js';
import { tinySpec, values, withModel } from '../tiny_diffusion.js';
import { semanticSpec } from './semantic_spec.js';

const labels = 5;
const withSemantic = (body: (model: LatentDiffusion) => Promise<void>) =>
  withModel(semanticSpec(labels), body);

/** Labels in stripes and blocks, some pixels without any. */
function mapOf(height: number, width: number): Tensor {
  const ids = Int32Array.from({ length: height * width }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    return ((x >> 3) + 2 * (y >> 2)) % (labels + 1) === labels
      ? -1
      : ((x >> 3) + 2 * (y >> 2)) % (labels + 1);
  });
  return tensor(ids, { shape: [1, height, width] });
}

const channelsOf = (map: Tensor): Tensor =>
  eq(map.reshape([...map.shape, 1]), arange(0, labels, 1, { dtype: 'int32' })).to('float32');

async function expectClose(actual: Tensor, expected: Tensor, digits = 4): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [await values(actual), await values(expected)];
  a.forEach((value, i) => expect(value).toBeCloseTo(b[i], digits));
}

describe('a map of the size of training', () => {
  it('is sampled as any condition is', () =>
    withSemantic(async (model) => {
      const [map, options] = [mapOf(32, 32), { steps: 2, seed: 3 }];
      const { images } = await semanticToImage(model, { map, ...options });
      const expected = await model.sample({ condition: channelsOf(map), ...options });
      await expectClose(images!, expected.images!);
      const given = await semanticToImage(model, { map: channelsOf(map), ...options });
      expect(await values(given.images!)).toEqual(await values(images!));
    }));

  it('is guided away from a map without labels', () =>
    withSemantic(async (model) => {
      const [map, options] = [mapOf(32, 32), { steps: 2, seed: 3, guidance: 2 }];
      const { images } = await semanticToImage(model, { map, ...options });
      const unconditional = full([1, 32, 32, labels], 0);
      const condition = channelsOf(map);
      const expected = await model.sample({ condition, unconditional, ...options });
      await expectClose(images!, expected.images!);
      const plain = await semanticToImage(model, { map, steps: 2, seed: 3 });
      expect(await values(images!)).not.toEqual(await values(plain.images!));
    }));
});

describe('a map of another size', () => {
  it('is extended by its last row and column, and the picture cut back', () =>
    withSemantic(async (model) => {
      const map = mapOf(37, 50);
      const options = { steps: 1, seed: 3, tiling: { tile: 64 } };
      const { images, latents } = await semanticToImage(model, { map, ...options });
      expect(latents.shape).toEqual([1, 10, 14, 3]);
      expect(images!.shape).toEqual([1, 37, 50, 3]);
      const pads = [0, 3, 6].map((after) => [0, after] as const);
      const whole = pad(map, pads, { mode: 'replicate' });
      const expected = await semanticToImage(model, { map: whole, ...options });
      await expectClose(images!, expected.images!.narrow(1, 0, 37).narrow(2, 0, 50), 5);
    }));

  it('has the same conditioning in bands as at once', () =>
    withSemantic(async (model) => {
      const map = mapOf(96, 200);
      const { concat } = new SemanticCanvas(model, [96, 200]).conditioning(map);
      await expectClose(concat!, model.condition(channelsOf(map)).concat!.detach(), 5);
    }));

  it('is seen by the network in patches, or as a whole where that is asked for', () =>
    withSemantic(async (model) => {
      const sampling = (options: Partial<SemanticToImageOptions>) =>
        new SemanticCanvas(model, [64, 32], options).sampling;
      expect(sampling({})).toEqual({ size: [16, 8], patches: { ks: 8 } });
      expect(sampling({ patches: { ks: 12, stride: 4 } }).patches).toEqual({ ks: 12, stride: 4 });
      expect(sampling({ patches: null })).toEqual({ size: [16, 8] });
      expect(new SemanticCanvas(model, [32, 20]).sampling).toEqual({ size: [8, 6] });
    }));

  it('costs the memory of a patch, and what the picture itself is', () =>
    withSemantic(async (model) => {
      const device = defaultDevice();
      const peak = async (side: number, options: Partial<SemanticToImageOptions> = {}) => {
        await device.synchronize();
        const { liveBytes } = device.memoryStats();
        device.resetPeak();
        const map = mapOf(side, side);
        await tidy(async () => {
          const tiling = { tile: 8 };
          await semanticToImage(model, { map, steps: 1, seed: 1, tiling, ...options });
          await device.synchronize();
        });
        map.dispose();
        return device.memoryStats().peakBytes - liveBytes;
      };
      const [small, large] = [await peak(32), await peak(128)];
      const whole = await peak(128, { patches: null, tiling: { tile: 32 } });
      const picture = (side: number) => 4 * 3 * side ** 2;
      expect(large - small).toBeLessThan(2 * (picture(128) - picture(32)));
      // sixteen times the canvas, and without parts as many times the memory
      expect(whole).toBeGreaterThan(4 * large);
    }));
});

describe('what does not fit', () => {
  /** Two maps, the second of which has this value at one of its pixels. */
  const withOne = (value: number, dtype: 'int32' | 'float32'): Tensor => {
    const ids = new Float32Array(2 * 32 * 32);
    ids[32 * 32 + 3 * 32 + 9] = value;
    return tensor(ids, { shape: [2, 32, 32] }).to(dtype);
  };
  const run = (map: Tensor, model: LatentDiffusion) =>
    semanticToImage(model, { map, steps: 1, seed: 1 });

  it.each<[string, () => Tensor, string]>([
    [
      'a label that the model lacks',
      () => full([1, 32, 32], 7, { dtype: 'int32' }),
      'knows the labels 0 to 4, and -1 where a pixel has none. Got 7 at row 0, column 0 of map 0',
    ],
    [
      'a label below that of nothing',
      () => withOne(-7, 'int32'),
      'Got -7 at row 3, column 9 of map 1',
    ],
    ['half a label', () => withOne(1.5, 'float32'), 'Got 1.5 at row 3, column 9 of map 1'],
    ['no number', () => withOne(NaN, 'float32'), 'Got NaN at row 3, column 9 of map 1'],
    [
      'channels of something else',
      () => full([1, 32, 32, labels], 7),
      'has values in [0, 1], 1 where a pixel has the label. Got values from 7 to 7',
    ],
    [
      'channels of nothing that is known',
      () => full([1, 32, 32, labels], NaN),
      'Got values from NaN to NaN',
    ],
    [
      'channels that were shifted',
      () => channelsOf(mapOf(32, 32)).mul(2).sub(1),
      'Got values from -1 to 1',
    ],
    [
      'other channels',
      () => noise([1, 32, 32, 4], { seed: 1 }),
      '[N, 32, 32] or [N, 32, 32, 5]. Got [1, 32, 32, 4]',
    ],
    [
      'a picture of labels without a batch',
      () => full([32, 32], 0),
      'a map is [N, H, W] or [N, H, W, 5]',
    ],
    ['nothing', () => full([1, 0, 32], 0), 'Got sides 0 x 32'],
  ])('%s', (_, map, message) =>
    withSemantic((model) => expect(run(map(), model)).rejects.toThrow(message)),
  );

  it('a model for another task, or whose map has another size than its latents', async () => {
    await withModel(tinySpec(), (model) =>
      expect(run(mapOf(32, 32), model)).rejects.toThrow(
        'conditioned on something else (conditioner class)',
      ),
    );
    const spec = semanticSpec(labels);
    if (spec.conditioner?.kind !== 'spatial-rescaler') throw new Error();
    const changed = { ...spec, conditioner: { ...spec.conditioner, nStages: 1 } };
    await withModel(changed, (model) =>
      expect(run(mapOf(32, 32), model)).rejects.toThrow(
        'changes sides by 0.5, the first stage by 1/4',
      ),
    );
  });
});
