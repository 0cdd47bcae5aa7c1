// The diffusion model as a whole: what is encoded, noised, conditioned, frozen and trained.
import { describe, expect, it } from 'vitest';
import {
  buildLatentDiffusion,
  minSnrWeights,
  noise,
  NoiseSchedule,
  randn,
  std,
  tensor,
  zerosLike,
  type LatentDiffusionSpec,
  type VQModelInterface,
} from '../../lib/index.js';
import { int64, plainSpec, tinySpec, values, withModel } from './tiny_diffusion.js';

describe('state', () => {
  it('lies under the original names, in its order', () => {
    const model = buildLatentDiffusion(
      tinySpec({ scaleByStd: true, diffusion: { learnLogvar: true, timesteps: 10 } }),
    );
    const keys = [...model.stateDict().keys()];
    const tables = Object.keys(new NoiseSchedule().buffers());
    expect(keys.slice(0, 14)).toEqual(['logvar', ...tables, 'scale_factor']);
    const parts = new Set(keys.slice(14).map((key) => key.split('.')[0]));
    expect([...parts]).toEqual(['model', 'first_stage_model', 'cond_stage_model']);
    expect(model.scale_factor!.shape).toEqual([]);
    expect(model.trainedParameters()).toEqual([
      ...model.model.parameters(),
      model.cond_stage_model!.parameters()[0],
      model.logvar,
    ]);
    model.dispose();
  });

  it('holds a first stage that is the conditioner twice', () => {
    const { unet, ...spec } = plainSpec();
    const model = buildLatentDiffusion({
      ...spec,
      unet: { ...unet, inChannels: 7 },
      conditioner: { kind: 'first-stage' },
      conditioningKey: 'concat',
    });
    const count = (prefix: string) =>
      [...model.stateDict().keys()].filter((key) => key.startsWith(prefix)).length;
    expect(count('cond_stage_model.')).toBe(count('first_stage_model.'));
    expect(model.cond_stage_model).toBe(model.first_stage_model);
    model.dispose();
  });
});

describe('the first stage', () => {
  it('gives scaled samples, and takes them back', () =>
    withModel(tinySpec({ scaleFactor: 0.5 }), async (model) => {
      const images = randn([2, 16, 16, 3]);
      const eps = randn([2, 8, 8, 3]);
      const latents = model.encode(images, eps);
      const plain = model.first_stage_model.encodeToLatents(images, eps);
      expect(await values(latents)).toEqual(await values(plain.mul(0.5)));
      expect(await values(model.decode(latents))).toEqual(
        await values(model.first_stage_model.decodeLatents(plain)),
      );
    }));

  it('is measured on a first batch, to unit deviation', () =>
    withModel(tinySpec({ scaleByStd: true }), async (model) => {
      const images = randn([4, 16, 16, 3]);
      const key = { seed: 1 };
      const deviation = await model.measureScale({ images }, key);
      expect(await model.scale_factor!.item()).toBeCloseTo(1 / deviation, 5);
      expect(await std(model.encode(images, key)).item()).toBeCloseTo(1, 5);
      await expect(model.measureScale({ encoded: zerosLike(images) })).rejects.toThrow(
        "the latents' standard deviation is 0",
      );
      const fixed = buildLatentDiffusion(plainSpec());
      await expect(fixed.measureScale({ images })).rejects.toThrow('the scale is fixed');
      fixed.dispose();
    }));

  it('and a frozen conditioner stay as they are: eval mode, no gradients, nothing recorded', async () => {
    for (const conditionerTrainable of [true, false])
      await withModel(tinySpec({ conditionerTrainable }), async (model) => {
        model.train();
        expect(model.first_stage_model.training).toBe(false);
        expect(model.cond_stage_model!.training).toBe(conditionerTrainable);
        expect(model.model.training).toBe(true);
        const images = randn([1, 16, 16, 3]);
        expect(model.encode(images).requiresGrad).toBe(false);
        const condition = int64(2);
        const { loss } = model.loss(
          { images, condition },
          { t: int64(5), noise: randn([1, 8, 8, 3]) },
        );
        loss.backward();
        const [table] = model.cond_stage_model!.parameters();
        expect(table.requiresGrad).toBe(conditionerTrainable);
        expect(table.grad !== null).toBe(conditionerTrainable);
        expect(model.first_stage_model.parameters().every((x) => x.grad === null)).toBe(true);
        expect(model.model.parameters().some((x) => x.grad !== null)).toBe(true);
        model.zeroGrad();
      });
  });

  const { firstStage } = plainSpec();
  if (firstStage.kind !== 'kl') throw new Error('unexpected');
  const vq = {
    kind: 'vq-interface' as const,
    embedDim: 3,
    nEmbed: 4,
    ddconfig: { ...firstStage.ddconfig, doubleZ: false },
  };

  it('quantises estimates to the nearest codes', () =>
    withModel(plainSpec({ scaleFactor: 2, firstStage: vq }), async (model) => {
      const latents = randn([1, 8, 8, 3]);
      const quantized = await values(model.quantize(latents));
      const { quantize } = model.first_stage_model as VQModelInterface;
      const codes = (await values(quantize.embedding.weight)).map((x) => 2 * x);
      const far = quantized.filter((x) => !codes.some((code) => Math.abs(code - x) < 1e-5));
      expect(far).toEqual([]);
      const { latents: sampled } = await model.sample({ steps: 2, seed: 1, quantizeX0: true });
      expect(sampled.shape).toEqual([1, 8, 8, 3]);
    }));

  it('decodes the codes that a network predicts', () => {
    const spec = plainSpec({ firstStage: { ...vq, remap: [3, 1, 2] }, scaleFactor: 2 });
    const unet = { ...spec.unet, nEmbed: 3 };
    return withModel({ ...spec, unet }, async (model) => {
      const logits = model.applyModel(randn([2, 8, 8, 3]), int64(3, 700));
      expect(logits.shape).toEqual([2, 8, 8, 3]);
      const flat = await values(logits);
      const likeliest = Array.from({ length: 128 }, (_, i) => {
        const own = flat.slice(3 * i, 3 * i + 3);
        return own.indexOf(Math.max(...own));
      });
      expect(new Set(likeliest).size).toBeGreaterThan(1);
      // by hand: the code's vector at each place, past the quantiser into the decoder
      const stage = model.first_stage_model as VQModelInterface;
      const table = await values(stage.quantize.embedding.weight);
      const vectors = likeliest.flatMap((k) => {
        const code = [3, 1, 2][k];
        return table.slice(3 * code, 3 * code + 3);
      });
      const latents = tensor(vectors, { shape: [2, 8, 8, 3] });
      const expected = await values(stage.decode(latents, { forceNotQuantize: true }));
      expect(await values(model.decodeCodes(logits))).toEqual(expected);
      const indices = int64(...likeliest).reshape([2, 8, 8]);
      expect(await values(model.decodeCodes(indices))).toEqual(expected);
      expect(() => model.decodeCodes(indices.reshape([-1]))).toThrow('Got [128]');
      await expect(model.sample({ seed: 1 })).rejects.toThrow('predicts codes, not noise');
    });
  });

  it('has no codes without a codebook', () =>
    withModel(plainSpec(), async (model) => {
      expect(() => model.decodeCodes(int64(0).reshape([1, 1, 1]))).toThrow('kind kl has no codes');
      expect(() => model.quantize(randn([1, 8, 8, 3]))).toThrow('kind kl has no codes');
      await Promise.resolve();
    }));
});

describe('the loss', () => {
  it('is the mean error of the noise, with the names of the original', () =>
    withModel(tinySpec(), async (model) => {
      const images = randn([2, 16, 16, 3]);
      const [t, eps, condition] = [int64(3, 700), randn([2, 8, 8, 3]), int64(1, 4)];
      const encoding = randn([2, 8, 8, 3]);
      const { loss, log } = model.loss({ images, condition }, { t, noise: eps, encoding });
      const noisy = model.diffusion.qSample(model.encode(images, encoding), t, eps);
      const output = model.applyModel(noisy, t, model.condition(condition));
      const expected = await output.sub(eps).square().mean().item();
      expect(await loss.item()).toBeCloseTo(expected, 5);
      expect(Object.keys(log)).toEqual(['loss_simple', 'loss_vlb', 'loss', 'latent_std']);
    }));

  it('reports a learned logvar', () =>
    withModel(plainSpec({ diffusion: { learnLogvar: true, logvarInit: 0.5 } }), async (model) => {
      const draws = { t: int64(3), noise: randn([1, 8, 8, 3]) };
      const { log } = model.loss({ encoded: randn([1, 8, 8, 3]) }, draws);
      expect(await log.logvar.item()).toBeCloseTo(0.5, 6);
      const simple = await log.loss_simple.item();
      expect(await log.loss_gamma.item()).toBeCloseTo(simple / Math.exp(0.5) + 0.5, 5);
    }));

  it('drops conditions for the class that means none', () =>
    withModel(tinySpec(), async (model) => {
      const encoded = randn([2, 8, 8, 3]);
      const draws = { t: int64(3, 700), noise: randn([2, 8, 8, 3]) };
      const dropped = tensor([true, false], { dtype: 'bool' });
      const some = model.loss({ encoded, condition: int64(1, 2) }, { ...draws, dropped });
      const same = model.loss({ encoded, condition: int64(4, 2) }, draws);
      const other = model.loss({ encoded, condition: int64(1, 2) }, draws);
      expect(await some.loss.item()).toBe(await same.loss.item());
      expect(await some.loss.item()).not.toBe(await other.loss.item());
    }));

  it.each(['eps', 'x0', 'v'] as const)('weighs by min-SNR for %s', (parameterization) =>
    withModel(plainSpec({ diffusion: { parameterization, minSnrGamma: 5 } }), async (model) => {
      const { schedule } = model.diffusion;
      const weights = minSnrWeights(schedule, parameterization, 5);
      const snr = (t: number) => {
        const a = schedule.exact.alphasCumprod[t];
        return a / (1 - a);
      };
      const divisor = { eps: snr, x0: () => 1, v: (t: number) => snr(t) + 1 }[parameterization];
      expect([snr(0) > 5, snr(900) < 5]).toEqual([true, true]);
      expect(weights[0]).toBeCloseTo(5 / divisor(0), 6);
      expect(weights[900]).toBeCloseTo(snr(900) / divisor(900), 6);
      const draws = { t: int64(900), noise: randn([1, 8, 8, 3]) };
      const { log } = model.loss({ encoded: randn([1, 8, 8, 3]) }, draws);
      const simple = await log.loss_simple.item();
      expect((await log.loss.item()) / simple).toBeCloseTo(weights[900], 5);
    }),
  );

  it('takes images or what was made of them, not both and not neither', () =>
    withModel(plainSpec(), async (model) => {
      const draws = { t: int64(1), noise: randn([1, 8, 8, 3]) };
      expect(() => model.loss({}, draws)).toThrow('either images or what the first stage made');
      const encoded = randn([1, 8, 8, 3]);
      expect(() => model.loss({ encoded, condition: int64(1) }, draws)).toThrow(
        'the model has no conditioner',
      );
      const dropped = tensor([true], { dtype: 'bool' });
      expect(() => model.loss({ encoded }, { ...draws, dropped })).toThrow(
        'no condition that could',
      );
    }));
});

describe('conditioning', () => {
  const wide = (extra: number, changed: Partial<LatentDiffusionSpec>) => {
    const { unet, ...spec } = plainSpec(changed);
    return { ...spec, unet: { ...unet, inChannels: 3 + extra } };
  };

  it('by the first stage: unscaled latents, then the mask', () =>
    withModel(
      wide(4, { conditioner: { kind: 'first-stage' }, conditioningKey: 'concat', scaleFactor: 3 }),
      async (model) => {
        const image = randn([1, 16, 16, 3]);
        const mask = noise([1, 16, 16, 1], { seed: 2 });
        const { concat: map } = model.condition({ image, mask });
        expect(map!.shape).toEqual([1, 8, 8, 4]);
        const latents = model.first_stage_model.encodeToLatents(image);
        expect(await values(map!.narrow(3, 0, 3))).toEqual(await values(latents));
        const corner = await values(map!.narrow(3, 3, 1));
        const fine = await values(mask);
        expect(corner.slice(0, 3)).toEqual([fine[0], fine[2], fine[4]]);
        const { images } = await model.sample({ condition: { image, mask }, steps: 2, seed: 1 });
        expect(images!.shape).toEqual([1, 16, 16, 3]);
        expect(() => model.unconditional({ image, mask })).toThrow('no image');
      },
    ));

  it('by maps, resized on the way', () =>
    withModel(
      wide(2, {
        conditioner: { kind: 'spatial-rescaler', nStages: 1, inChannels: 5, outChannels: 2 },
        conditioningKey: 'concat',
        conditionerTrainable: true,
      }),
      async (model) => {
        const { concat: map } = model.condition(randn([1, 16, 16, 5]));
        expect(map!.shape).toEqual([1, 8, 8, 2]);
        expect(map!.requiresGrad).toBe(true);
      },
    ));

  it('by classes in the time embedding', () => {
    const { unet, ...spec } = plainSpec();
    return withModel(
      {
        ...spec,
        unet: { ...unet, numClasses: 4 },
        conditioner: { kind: 'identity' },
        conditioningKey: 'adm',
      },
      async (model) => {
        const [x, t] = [randn([1, 8, 8, 3]), int64(9)];
        const of = (id: number) => values(model.applyModel(x, t, model.condition(int64(id))));
        expect(await of(0)).not.toEqual(await of(1));
        expect(() => model.applyModel(x, t)).toThrow(
          'with the conditioning key adm the network takes y. Got nothing',
        );
      },
    );
  });

  it('to n levels of noise that rise with t', () =>
    withModel(
      wide(3, {
        conditioner: { kind: 'identity' },
        conditioningKey: 'concat',
        numTimestepsCond: 3,
        diffusion: { timesteps: 10 },
      }),
      async (model) => {
        const map = randn([4, 8, 8, 3]);
        const noised = model.noisedConditioning({ concat: map }, int64(0, 1, 2, 7), { seed: 5 });
        const drawn = noise(map.shape, { seed: 5 });
        // halves are rounded to even
        const expected = model.diffusion.qSample(map, int64(0, 4, 9, 9), drawn);
        expect(await values(noised.concat!)).toEqual(await values(expected));
        const batch = { encoded: randn([4, 8, 8, 3]), condition: map };
        const draws = { t: int64(1, 2, 3, 4), noise: randn([4, 8, 8, 3]) };
        expect(() => model.loss(batch, draws)).toThrow('needs noise for the conditioning');
        const { loss } = model.loss(batch, { ...draws, conditioning: { seed: 1 } });
        expect(await loss.item()).toBeGreaterThan(0);
        const options = { condition: map, method: 'ddpm', seed: 3, decode: false } as const;
        const [first, again] = [await model.sample(options), await model.sample(options)];
        expect(await values(first.latents)).toEqual(await values(again.latents));
      },
    ));

  it.each([
    [{ conditioningKey: undefined }, 'conditioningKey is missing'],
    [{ conditioner: { kind: 'clas', embedDim: 3 } }, 'kind must be one of class'],
    [{ conditioner: { kind: 'none' } }, 'conditionerTrainable must be false'],
    [{ conditioningKey: 'adm' }, 'excludes a network that attends'],
    [{ numTimestepsCond: 2000 }, 'at most the 1000 timesteps'],
    [{ scaleFactor: 0 }, 'scaleFactor must be'],
    [{ scaleFactr: 1 }, "Did you mean 'scaleFactor'?"],
    [
      { firstStage: { kind: 'identity' }, unet: { ...tinySpec().unet, inChannels: 4 } },
      "latents' 3",
    ],
    [{ diffusion: { linearStart: 0 } }, 'every β must lie in (0, 1)'],
  ])('%o is refused', (changed, message) => {
    const spec = tinySpec(changed as Partial<LatentDiffusionSpec>);
    expect(() => buildLatentDiffusion(spec)).toThrow(message);
  });
});
