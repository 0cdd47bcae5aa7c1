// Sampling from a diffusion model: guidance, contexts made once, seeds, methods, manners.
import { describe, expect, it, test, vi } from 'vitest';
import {
  buildLatentDiffusion,
  concat,
  CrossAttention,
  ddim,
  guided,
  lastLatent,
  noise,
  randn,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../lib/index.js';
import { int64, plainSpec, shaken, tinySpec, values, withModel } from './tiny_diffusion.js';
import { collectGarbage } from '../support/collect_garbage.js';

describe('sampling', () => {
  it('projects the context once a run, and gives what projecting it in every step gives', () =>
    withModel(tinySpec(), async (model) => {
      const condition = int64(1, 2);
      const network = model.model.diffusion_model;
      const layers = network.modules().filter((module) => module instanceof CrossAttention);
      // self-attention projects in every step, cross-attention here only once
      const cross = layers.filter((layer) => layer.to_k.weight.shape[1] === 6);
      const project = vi.spyOn(CrossAttention.prototype, 'project');
      const { latents } = await model.sample({
        condition,
        guidance: 3,
        steps: 5,
        seed: 7,
        decode: false,
      });
      const calls = project.mock.contexts.filter((layer) =>
        cross.includes(layer as CrossAttention),
      );
      project.mockRestore();
      expect(cross.length).toBe(4);
      expect(calls.length).toBe(cross.length);

      const denoise = guided(
        (x, t, c: Record<string, Tensor>) => model.applyModel(x, t, c),
        model.condition(condition) as Record<string, Tensor>,
        model.condition(int64(4, 4)) as Record<string, Tensor>,
        3,
      );
      const { schedule } = model.diffusion;
      const options = { steps: 5, seed: 7, shape: [2, 8, 8, 3] };
      const expected = await lastLatent(ddim(denoise, schedule, options));
      expect(await values(latents)).toEqual(await values(expected));
    }));

  it('refuses a context that was prepared for another network', () =>
    withModel(tinySpec(), async (model) => {
      const other = buildLatentDiffusion(tinySpec());
      const { context } = model.condition(int64(1));
      const prepared = other.model.diffusion_model.prepareContext(context as Tensor);
      const [x, t] = [randn([1, 8, 8, 3]), int64(9)];
      expect(() => model.applyModel(x, t, { context: prepared })).toThrow('another network');
      expect(() => model.model.diffusion_model.prepareContext(x)).toThrow('must be [N, S, 6]');
      other.dispose();
    }));

  it('guides with every entry of the conditioning', () => {
    const { unet, ...spec } = tinySpec({
      conditioner: { kind: 'none' },
      conditionerTrainable: false,
      conditioningKey: 'hybrid',
    });
    return withModel({ ...spec, unet: { ...unet, inChannels: 4 } }, async (model) => {
      const conditioning = { concat: randn([1, 8, 8, 1]), context: randn([1, 2, 6]) };
      const nothing = { concat: randn([1, 8, 8, 1]), context: randn([1, 2, 6]) };
      const network = vi.spyOn(model.model, 'forward');
      const { latents } = await model.sample({
        conditioning,
        unconditionalConditioning: nothing,
        guidance: 2,
        steps: 1,
        seed: 1,
        decode: false,
      });
      expect(network.mock.calls.map(([x]) => x.shape)).toEqual([[2, 8, 8, 3]]);
      const x = noise([1, 8, 8, 3], { seed: 1 });
      const t = int64(1);
      const [u, c] = [model.applyModel(x, t, nothing), model.applyModel(x, t, conditioning)];
      const eps = u.add(c.sub(u).mul(2));
      const [a, last] = [
        model.diffusion.schedule.alphasCumprod[1],
        model.diffusion.schedule.alphasCumprod[0],
      ];
      const x0 = x.sub(eps.mul(Math.sqrt(1 - a))).div(Math.sqrt(a));
      const expected = await values(x0.mul(Math.sqrt(last)).add(eps.mul(Math.sqrt(1 - last))));
      (await values(latents)).forEach((value, i) => expect(value).toBeCloseTo(expected[i], 4));
      await expect(
        model.sample({
          conditioning,
          unconditionalConditioning: { context: nothing.context },
          guidance: 2,
          seed: 1,
        }),
      ).rejects.toThrow('must have the same entries');
      await expect(model.sample({ conditioning, guidance: 2, seed: 1 })).rejects.toThrow(
        'guidance needs to know what it leads away from',
      );
    });
  });

  it('makes a picture of a seed whatever is beside it, and decodes in batches', () =>
    withModel(tinySpec(), async (model) => {
      const shared = { steps: 3, eta: 1, guidance: 2 };
      const pair = await model.sample({
        ...shared,
        condition: int64(0, 1),
        seed: [5, 6],
        decodeBatch: 1,
      });
      const alone = await model.sample({ ...shared, condition: int64(1), seed: [6] });
      const [both, one] = [await values(pair.images!), await values(alone.images!)];
      one.forEach((value, i) => expect(value).toBeCloseTo(both[one.length + i], 4));
      expect(pair.images!.requiresGrad).toBe(false);
    }));

  it.each(['plms', 'dpm-solver++', 'unipc', 'euler', 'euler-ancestral'] as const)(
    'by %s',
    (method) =>
      withModel(tinySpec(), async (model) => {
        const steps: number[] = [];
        const { latents, images } = await model.sample({
          method,
          steps: 4,
          condition: int64(3),
          seed: 1,
          size: [4, 8],
          onStep: ({ step }) => void steps.push(step),
        });
        expect(latents.shape).toEqual([1, 4, 8, 3]);
        expect(images!.shape).toEqual([1, 8, 16, 3]);
        expect(steps).toEqual([0, 1, 2, 3]);
      }),
  );

  it('of pixels clamps its estimates in every step of ancestral sampling', () => {
    const { unet } = plainSpec();
    const pixels: LatentDiffusionSpec = {
      unet,
      firstStage: { kind: 'identity' },
      diffusion: { timesteps: 6 },
      clipDenoised: true,
    };
    return withModel(pixels, async (model) => {
      let largest = 0;
      const { images } = await model.sample({
        method: 'ddpm',
        seed: 1,
        onStep: async ({ predX0 }) => {
          largest = Math.max(largest, ...(await values(predX0)).map(Math.abs));
        },
      });
      expect(largest).toBeLessThanOrEqual(1);
      expect(images!.shape).toEqual([1, 8, 8, 3]);
    });
  });

  it('leaves modes and memory as they were', async () => {
    const model = await shaken(tinySpec());
    model.train();
    const before = model.modules().map((module) => module.training);
    const condition = int64(1);
    const warm = async () => {
      const { latents, images } = await model.sample({ condition, guidance: 2, steps: 2, seed: 1 });
      latents.dispose();
      images!.dispose();
    };
    await warm();
    await collectGarbage();
    const { tensors } = model.betas.device.memoryStats();
    await warm();
    expect(model.betas.device.memoryStats().tensors).toBe(tensors);
    expect(model.modules().map((module) => module.training)).toEqual(before);
    condition.dispose();
    model.dispose();
  });

  it('wants as many conditions as latents and seeds', () =>
    withModel(tinySpec(), async (model) => {
      await expect(model.sample({ condition: int64(1, 2), seed: [1] })).rejects.toThrow(
        'conditions: 2, seeds: 1',
      );
      await expect(
        model.sample({ condition: int64(1), seed: 1, decodeBatch: 0, steps: 1 }),
      ).rejects.toThrow('decodeBatch must be');
      await expect(model.sample({ condition: int64(1) })).rejects.toThrow('give a seed');
    }));
});

const joining = (extra: number, changed: Partial<LatentDiffusionSpec>): LatentDiffusionSpec => {
  const { unet, ...spec } = plainSpec({ conditioningKey: 'concat', ...changed });
  return { ...spec, unet: { ...unet, inChannels: 3 + extra } };
};
const bert = { kind: 'bert', nEmbed: 6, nLayer: 1, vocabSize: 9, maxSeqLen: 3 } as const;

test.each<[string, LatentDiffusionSpec, string]>([
  ['classes', tinySpec(), 'Use classToImage, or give condition'],
  ['texts', tinySpec({ conditioner: bert }), 'Use textToImage, or give condition'],
  [
    'layouts',
    tinySpec({ conditioner: { ...bert, useTokenizer: false } }),
    'Use layoutToImage, or give condition',
  ],
  ['small pictures', joining(3, { conditioner: { kind: 'identity' } }), 'Use upscale, or give'],
  ['masked pictures', joining(4, { conditioner: { kind: 'first-stage' } }), 'Use inpaint, or give'],
  [
    'embeddings of another network',
    tinySpec({ conditioner: { kind: 'identity' }, conditionerTrainable: false }),
    'Give condition, or conditioning: the same encoded.',
  ],
])('a model of %s asks for them when it is given none', (condition, spec, remedy) =>
  withModel(spec, async (model) => {
    const sampled = model.sample({ seed: 1, steps: 1 });
    await expect(sampled).rejects.toThrow(
      `the model is conditioned on ${condition}, and sample was given no condition. ${remedy}`,
    );
  }),
);

it('joins a doubled batch, the unconditional half first', () =>
  withModel(tinySpec(), async (model) => {
    const seen: number[][] = [];
    const forward = model.model.diffusion_model.prepareContext.bind(model.model.diffusion_model);
    const spy = vi
      .spyOn(model.model.diffusion_model, 'prepareContext')
      .mockImplementation((context) => {
        seen.push([...context.dataSync()] as number[]);
        return forward(context);
      });
    await model.sample({ condition: int64(2), guidance: 2, steps: 1, seed: 1, decode: false });
    spy.mockRestore();
    const expected = concat(
      [4, 2].map((id) => model.condition(int64(id)).context as Tensor),
      0,
    );
    expect(seen).toEqual([await values(expected)]);
  }));
