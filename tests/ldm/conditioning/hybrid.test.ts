// A map and tokens at once: what the network is given, its keys, gradients, dropping and guidance.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import {
  buildLatentDiffusion,
  checkLatentDiffusionSpec,
  loadLatentDiffusion,
  noise,
  randn,
  saveLatentDiffusion,
  tensor,
  type ConditionerSpec,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../../lib/index.js';
import { int64, plainSpec, tinySpec, values, withModel } from '../tiny_diffusion.js';

/** Maps of 16 x 16 x 5 made 8 x 8 x 2, and 4 tokens of a vocabulary of 10. */
function hybridSpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  const { unet, ...spec } = tinySpec();
  return {
    ...spec,
    unet: { ...unet, inChannels: 5 },
    conditioner: {
      kind: 'hybrid',
      concat: { kind: 'spatial-rescaler', inChannels: 5, outChannels: 2 },
      crossattn: {
        kind: 'bert',
        nEmbed: 6,
        nLayer: 1,
        vocabSize: 10,
        maxSeqLen: 4,
        useTokenizer: false,
        unconditionalToken: 9,
      },
    },
    conditioningKey: 'hybrid',
    ...changed,
  };
}

const map = (n: number) => noise([n, 16, 16, 5], { seed: 4 });
const tokens = (...rows: number[][]) =>
  tensor(BigInt64Array.from(rows.flat(), BigInt), { shape: [rows.length, 4] });

describe('a hybrid conditioner', () => {
  it('gives the network the map and the tokens, each by its own encoder', () =>
    withModel(hybridSpec(), async (model) => {
      const input = { concat: map(2), crossattn: tokens([1, 2, 3, 4], [5, 6, 7, 8]) };
      const { concat, context } = model.condition(input);
      expect(concat!.shape).toEqual([2, 8, 8, 2]);
      expect((context as Tensor).shape).toEqual([2, 4, 6]);
      const [x, t] = [randn([2, 8, 8, 3]), int64(9, 9)];
      const predicted = async (changed: object) =>
        values(model.applyModel(x, t, model.condition({ ...input, ...changed })));
      const first = await predicted({});
      expect(await predicted({ concat: map(2).mul(2) })).not.toEqual(first);
      expect(await predicted({ crossattn: tokens([4, 2, 3, 4], [5, 6, 7, 8]) })).not.toEqual(first);
    }));

  it("has the original's keys, and comes back from a folder", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hybrid-'));
    const model = buildLatentDiffusion(hybridSpec());
    try {
      const keys = [...model.stateDict().keys()].filter((key) => key.startsWith('cond_stage'));
      expect(keys).toContain('cond_stage_model.concat_conditioner.channel_mapper.weight');
      expect(keys).toContain('cond_stage_model.crossattn_conditioner.transformer.token_emb.weight');
      await saveLatentDiffusion(folder, model);
      const loaded = await loadLatentDiffusion(folder);
      const key = 'cond_stage_model.crossattn_conditioner.transformer.norm.weight';
      expect(await values(loaded.stateDict().get(key)!)).toEqual(
        await values(model.stateDict().get(key)!),
      );
      expect(loaded.spec).toEqual(model.spec);
      loaded.dispose();
    } finally {
      model.dispose();
      await rm(folder, { recursive: true });
    }
  });

  it('is trained in both parts', () =>
    withModel(hybridSpec(), async (model) => {
      const batch = {
        images: randn([2, 16, 16, 3]).clamp(-1, 1),
        condition: { concat: map(2), crossattn: tokens([1, 2, 3, 4], [5, 6, 7, 8]) },
      };
      model.loss(batch, { t: int64(3, 700), noise: randn([2, 8, 8, 3]) }).loss.backward();
      const trained = new Set(model.trainedParameters());
      const parameters = [...model.namedParameters()].filter(([, x]) => trained.has(x));
      for (const part of ['concat', 'crossattn']) {
        const own = parameters.filter(([key]) => key.startsWith(`cond_stage_model.${part}_`));
        const moved = await Promise.all(
          own.map(async ([, { grad }]) => grad && (await values(grad)).some((x) => x !== 0)),
        );
        expect(moved).toContain(true);
      }
      expect(parameters.some(([key]) => key.startsWith('first_stage_model'))).toBe(false);
    }));

  it('may have the first stage for its map, which stays frozen', () => {
    const { unet } = tinySpec();
    const { crossattn } = hybridSpec().conditioner as ConditionerSpec & { kind: 'hybrid' };
    const conditioner = { kind: 'hybrid', concat: { kind: 'first-stage' }, crossattn } as const;
    return withModel(
      hybridSpec({ conditioner, unet: { ...unet, inChannels: 7 } }),
      async (model) => {
        const image = randn([1, 16, 16, 3]).clamp(-1, 1);
        const mask = tensor(new Float32Array(256).fill(-1), { shape: [1, 16, 16, 1] });
        const input = { concat: { image, mask }, crossattn: tokens([1, 2, 3, 4]) };
        model.train();
        const { concat, context } = model.condition(input);
        expect(concat!.shape).toEqual([1, 8, 8, 4]);
        expect([concat!.requiresGrad, (context as Tensor).requiresGrad]).toEqual([false, true]);
        const trained = new Set(model.trainedParameters());
        expect(model.first_stage_model.parameters().filter((x) => trained.has(x))).toEqual([]);
        expect(model.first_stage_model.training).toBe(false);
      },
    );
  });

  it('drops the tokens of a sample and keeps its map', () =>
    withModel(hybridSpec(), async (model) => {
      const condition = { concat: map(2), crossattn: tokens([1, 2, 3, 4], [5, 6, 7, 8]) };
      const batch = { encoded: randn([2, 8, 8, 3]), condition };
      const draws = { t: int64(3, 700), noise: randn([2, 8, 8, 3]) };
      const seen = vi.spyOn(model, 'condition');
      const { loss } = model.loss(batch, {
        ...draws,
        dropped: tensor([true, false], { dtype: 'bool' }),
      });
      const [{ concat, crossattn }] = seen.mock.calls[0] as unknown as [typeof condition];
      expect(concat).toBe(condition.concat);
      expect(Array.from(await crossattn.data(), Number)).toEqual([9, 9, 9, 9, 5, 6, 7, 8]);
      expect(await loss.item()).toBeGreaterThan(0);
    }));

  it('guides away from the same map without tokens', () =>
    withModel(hybridSpec(), async (model) => {
      const condition = { concat: map(1), crossattn: tokens([1, 2, 3, 4]) };
      const options = { steps: 2, seed: 3, guidance: 3, decode: false };
      const { latents } = await model.sample({ ...options, condition });
      const unconditional = { concat: map(1), crossattn: tokens([9, 9, 9, 9]) };
      const same = await model.sample({ ...options, condition, unconditional });
      expect(await values(latents)).toEqual(await values(same.latents));
      const plain = await model.sample({ ...options, condition, guidance: 1 });
      expect(await values(plain.latents)).not.toEqual(await values(latents));
    }));

  it('takes nothing but both', () =>
    withModel(hybridSpec(), async (model) => {
      expect(() => model.condition(map(1))).toThrow('takes { concat, crossattn }');
      const masked = { image: randn([1, 16, 16, 3]), mask: randn([1, 16, 16, 1]) };
      expect(() => model.condition(masked)).toThrow('takes { concat, crossattn }');
      await withModel(tinySpec(), async (other) => {
        const input = { concat: map(1), crossattn: tokens([1, 2, 3, 4]) };
        expect(() => other.condition(input)).toThrow('takes one thing');
        await Promise.resolve();
      });
    }));

  it.each<[object, string]>([
    [
      { conditioningKey: 'crossattn', unet: tinySpec().unet },
      'belong together. Got crossattn and hybrid',
    ],
    [{ conditioner: tinySpec().conditioner }, 'belong together. Got hybrid and class'],
    [{ conditioner: { kind: 'hybrid', concat: { kind: 'identity' } } }, 'crossattn is missing'],
    [
      {
        conditioner: {
          kind: 'hybrid',
          concat: { kind: 'class', embedDim: 3 },
          crossattn: { kind: 'identity' },
        },
      },
      "concat must be one of spatial-rescaler, identity, first-stage, masked-latents, which give maps. Got 'class'",
    ],
    [
      {
        conditioner: { kind: 'hybrid', concat: { kind: 'identity' }, crossattn: { kind: 'none' } },
      },
      'crossattn must give tokens, which no conditioner of kind none does',
    ],
    [
      {
        conditioner: {
          kind: 'hybrid',
          concat: { kind: 'identity' },
          crossattn: { kind: 'identity' },
        },
      },
      'nothing to train',
    ],
  ])('is refused as %o', (changed, message) => {
    expect(() => checkLatentDiffusionSpec(hybridSpec(changed))).toThrow(message);
  });
});

describe("the masked picture in Stable Diffusion's way", () => {
  const { crossattn } = hybridSpec().conditioner as ConditionerSpec & { kind: 'hybrid' };
  const spec = (): LatentDiffusionSpec =>
    hybridSpec({
      unet: { ...tinySpec().unet, inChannels: 7 },
      conditioner: { kind: 'hybrid', concat: { kind: 'masked-latents' }, crossattn },
      scaleFactor: 0.5,
    });
  const side = 16;
  const isHole = (i: number) => i % side > 5 && i < 9 * side;
  const image = () => randn([1, side, side, 3]).clamp(-1, 1);
  const mask = () =>
    tensor(
      Float32Array.from({ length: side * side }, (_, i) => (isHole(i) ? 1 : -1)),
      { shape: [1, side, side, 1] },
    );

  it('is the mask, 0 and 1, and behind it scaled latents of the picture with grey holes', () =>
    withModel(spec(), async (model) => {
      const given = { image: image(), mask: mask() };
      const input = { concat: given, crossattn: tokens([1, 2, 3, 4]) };
      const { concat, context } = model.condition(input);
      expect([concat!.shape, (context as Tensor).shape]).toEqual([
        [1, 8, 8, 4],
        [1, 4, 6],
      ]);
      const pixels = await values(given.image);
      const grey = tensor(
        Float32Array.from(pixels, (value, i) => (isHole(Math.floor(i / 3)) ? 0 : value)),
        { shape: given.image.shape },
      );
      const latents = await values(model.first_stage_model.encodeToLatents(grey));
      const joined = await values(concat!);
      for (let i = 0; i < 64; ++i) {
        const [y, x] = [Math.floor(i / 8), i % 8];
        expect(joined[4 * i]).toBe(isHole(2 * y * side + 2 * x) ? 1 : 0);
        for (let c = 0; c < 3; ++c) expect(joined[4 * i + 1 + c]).toBe(0.5 * latents[3 * i + c]);
      }
      // what lies under holes is not seen
      const hidden = { ...given, image: grey };
      const again = model.condition({ ...input, concat: hidden });
      expect(await values(again.concat!)).toEqual(joined);
      expect(() => model.condition({ ...input, concat: given.image })).toThrow(/its mask/);
    }));

  it("has the text encoder's keys as they are published, comes back, and is trained", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'inpainting-'));
    const model = buildLatentDiffusion(spec());
    try {
      const keys = [...model.exportState().keys()].filter((key) => key.startsWith('cond_stage'));
      expect(keys).toContain('cond_stage_model.transformer.token_emb.weight');
      expect(keys.filter((key) => key.includes('conditioner'))).toEqual([]);
      await saveLatentDiffusion(folder, model);
      const loaded = await loadLatentDiffusion(folder);
      expect(loaded.spec).toEqual(model.spec);
      const condition = {
        concat: { image: image(), mask: mask() },
        crossattn: tokens([1, 2, 3, 4]),
      };
      const batch = { images: image(), condition };
      loaded.loss(batch, { t: int64(700), noise: randn([1, 8, 8, 3]) }).loss.backward();
      const key = 'cond_stage_model.transformer.norm.weight';
      expect(loaded.namedParameters().get(key)!.grad).not.toBeNull();
      loaded.dispose();
    } finally {
      model.dispose();
      await rm(folder, { recursive: true });
    }
  });

  it('is a part of a hybrid and nothing else', () => {
    const alone = { kind: 'masked-latents' } as unknown as ConditionerSpec;
    expect(() => checkLatentDiffusionSpec(hybridSpec({ conditioner: alone }))).toThrow();
    const concat = { kind: 'masked-latents', order: 1 };
    const misspelt = { kind: 'hybrid', concat, crossattn } as unknown as ConditionerSpec;
    expect(() => checkLatentDiffusionSpec(hybridSpec({ conditioner: misspelt }))).toThrow(/order/);
  });
});

describe('adm', () => {
  const spec = (): LatentDiffusionSpec => {
    const { unet, ...rest } = plainSpec();
    return {
      ...rest,
      unet: { ...unet, numClasses: 4 },
      conditioner: { kind: 'identity' },
      conditioningKey: 'adm',
    };
  };

  it('trains the class embedding of the network, and has no class for nothing', () =>
    withModel(spec(), async (model) => {
      const batch = { encoded: randn([2, 8, 8, 3]), condition: int64(1, 3) };
      const draws = { t: int64(3, 700), noise: randn([2, 8, 8, 3]) };
      model.loss(batch, draws).loss.backward();
      const { grad } = model.model.namedParameters().get('diffusion_model.label_emb.weight')!;
      const rows = (await values(grad!)).some((x) => x !== 0);
      expect(rows).toBe(true);
      expect(() =>
        model.loss(batch, { ...draws, dropped: tensor([true, false], { dtype: 'bool' }) }),
      ).toThrow('no class of a network with numClasses stands for "none"');
      const guided = { condition: int64(1), guidance: 2, steps: 2, seed: 1, decode: false };
      const { latents } = await model.sample({ ...guided, unconditional: int64(0) });
      expect(latents.shape).toEqual([1, 8, 8, 3]);
    }));

  it('drops and guides to the class that means none, where the spec says so', () =>
    withModel({ ...spec(), unconditionalClass: 3 }, async (model) => {
      const seen = vi.spyOn(model, 'condition');
      const batch = { encoded: randn([2, 8, 8, 3]), condition: int64(1, 2) };
      const dropped = tensor([true, false], { dtype: 'bool' });
      model.loss(batch, { t: int64(3, 700), noise: randn([2, 8, 8, 3]), dropped });
      expect(Array.from(await (seen.mock.calls[0][0] as Tensor).data(), Number)).toEqual([3, 2]);
      const options = { condition: int64(1), guidance: 2, steps: 2, seed: 1, decode: false };
      const { latents } = await model.sample(options);
      const same = await model.sample({ ...options, unconditional: int64(3) });
      expect(await values(latents)).toEqual(await values(same.latents));
      const other = await model.sample({ ...options, unconditional: int64(0) });
      expect(await values(latents)).not.toEqual(await values(other.latents));
    }));

  it.each<[object, RegExp]>([
    [
      { unconditionalClass: 4 },
      /one of a network with numClasses \(4\), and must be below it. Got 4/,
    ],
    [tinySpec({ unconditionalClass: 1 }), /numClasses \(0\).*A conditioner of classes has its own/],
  ])('refuses %j', (changed, message) => {
    expect(() => checkLatentDiffusionSpec({ ...spec(), ...changed })).toThrow(message);
  });

  it('takes class ids and no embedding of them', () => {
    const conditioner = { kind: 'class', embedDim: 6, nClasses: 4 } as const;
    expect(() => checkLatentDiffusionSpec({ ...spec(), conditioner })).toThrow(
      'its conditioner is the identity, not of kind class',
    );
  });
});
