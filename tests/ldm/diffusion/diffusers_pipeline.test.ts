// Pipelines of diffusers: which models have one, and what their indexes say.
import { describe, expect, test } from 'vitest';
import {
  fromDiffusersPipeline,
  latentDiffusionPresets,
  toDiffusersPipeline,
  type DiffusersPipelineConfigs,
  type LatentDiffusionPreset,
  type LatentDiffusionSpec,
} from '../../../lib/index.js';

/** Of the published models: the class of the pipeline, or why there is none. */
const published: Record<LatentDiffusionPreset, string | RegExp> = {
  celeba256: 'LDMPipeline',
  ffhq256: 'LDMPipeline',
  lsun_beds256: 'LDMPipeline',
  lsun_churches256: /measured factor \(scaleByStd\), which is not given/,
  cin256: /no pipeline of models with a conditioner of kind class/,
  'cin256-v2': /no pipeline of models with a conditioner of kind class/,
  text2img256: 'LDMTextToImagePipeline',
  'txt2img-1p4B': 'LDMTextToImagePipeline',
  'layout2img-openimages256': 'LDMTextToImagePipeline',
  semantic_synthesis256: /no pipeline of models with a conditioner of kind spatial-rescaler/,
  semantic_synthesis512: /no pipeline of models with a conditioner of kind spatial-rescaler/,
  bsr_sr: 'LDMSuperResolutionPipeline',
  inpainting_big: /no pipeline of models with a conditioner of kind first-stage/,
  rdm: 'StableDiffusionPipeline',
  'stable-diffusion-v1': 'StableDiffusionPipeline',
  'stable-diffusion-v1-inpainting': /no pipeline of models with a conditioner of kind hybrid/,
};

const read = (files: Map<string, Record<string, unknown>>): DiffusersPipelineConfigs => {
  const { unet, firstStage, scheduler, index } = Object.fromEntries(
    [...files].map(([path, config]) => {
      const json = JSON.parse(JSON.stringify(config)) as Record<string, unknown>;
      const [name] = path.split('/');
      if (name === 'vae' || name === 'vqvae') return ['firstStage', json];
      return [name === 'model_index.json' ? 'index' : name, json];
    }),
  );
  return { unet, firstStage, scheduler, index };
};

test.each(Object.entries(published))('%s', (name, expected) => {
  const spec = latentDiffusionPresets[name as LatentDiffusionPreset];
  if (expected instanceof RegExp) return expect(() => toDiffusersPipeline(spec)).toThrow(expected);
  const configs = read(toDiffusersPipeline(spec));
  expect(configs.index._class_name).toBe(expected);
  const back = fromDiffusersPipeline(configs);
  expect(back).toMatchObject({ className: expected, others: [] });
  expect(back.spec).toMatchObject({
    firstStage: { kind: spec.firstStage.kind },
    diffusion: { linearStart: spec.diffusion!.linearStart, linearEnd: spec.diffusion!.linearEnd },
    imageSize: spec.imageSize,
    scaleFactor: spec.scaleFactor ?? 1,
  });
  expect(back.spec.conditioningKey).toBe(spec.conditioningKey);
});

test('the index names each part with its class; what encodes text is left empty', () => {
  const { index } = read(toDiffusersPipeline(latentDiffusionPresets['txt2img-1p4B']));
  expect(index).toEqual({
    _class_name: 'LDMTextToImagePipeline',
    bert: [null, null],
    scheduler: ['diffusers', 'DDIMScheduler'],
    tokenizer: [null, null],
    unet: ['diffusers', 'UNet2DConditionModel'],
    vqvae: ['diffusers', 'AutoencoderKL'],
  });
});

describe('a pipeline of Stable Diffusion', () => {
  const configs = read(toDiffusersPipeline(latentDiffusionPresets.rdm));
  const stableDiffusion: DiffusersPipelineConfigs = {
    ...configs,
    scheduler: { ...configs.scheduler, _class_name: 'PNDMScheduler', steps_offset: 1 },
    index: {
      _class_name: 'StableDiffusionPipeline',
      _diffusers_version: '0.6.0',
      feature_extractor: ['transformers', 'CLIPImageProcessor'],
      requires_safety_checker: true,
      safety_checker: [null, null],
      scheduler: ['diffusers', 'PNDMScheduler'],
      text_encoder: ['transformers', 'CLIPTextModel'],
      tokenizer: ['transformers', 'CLIPTokenizer'],
      unet: ['diffusers', 'UNet2DConditionModel'],
      vae: ['diffusers', 'AutoencoderKL'],
    },
  };

  test('takes the encoded text here; what encodes it is named', () => {
    const { spec, others, scheduler } = fromDiffusersPipeline(stableDiffusion);
    expect(spec).toMatchObject({
      conditioner: { kind: 'identity' },
      conditioningKey: 'crossattn',
      firstStage: { kind: 'kl', embedDim: 16 },
    });
    expect(others).toEqual(['feature_extractor', 'text_encoder', 'tokenizer']);
    expect(scheduler.className).toBe('PNDMScheduler');
  });

  test('keeps its parts and its scheduler when it is written again', () => {
    const { spec } = fromDiffusersPipeline(stableDiffusion);
    const again = read(toDiffusersPipeline(spec, stableDiffusion));
    expect(again.index).toEqual(stableDiffusion.index);
    expect(again.scheduler).toEqual(stableDiffusion.scheduler);
  });

  test('another pipeline is refused by name', () => {
    const index = { _class_name: 'StableDiffusionXLPipeline' };
    expect(() => fromDiffusersPipeline({ ...stableDiffusion, index })).toThrow(
      /_class_name must be one of LDMPipeline, .* Got "StableDiffusionXLPipeline"/,
    );
  });
});

test('what pipelines lack is refused by name', () => {
  const { bsr_sr, celeba256, lsun_churches256, rdm } = latentDiffusionPresets;
  const { imageSize: _, ...unet } = celeba256.unet;
  const refused: [LatentDiffusionSpec, RegExp][] = [
    [{ ...bsr_sr, scaleFactor: 2 }, /LDMSuperResolutionPipeline takes latents as they are/],
    [{ ...bsr_sr, unet: { ...bsr_sr.unet, inChannels: 7 } }, /inChannels must be 6\. Got 7/],
    [{ ...celeba256, unet, imageSize: undefined }, /imageSize is missing/],
    [{ ...lsun_churches256, scaleFactor: 0.2 }, /8 heads \(numHeads\) in attention blocks/],
    [{ ...rdm, numTimestepsCond: 2 }, /numTimestepsCond/],
  ];
  for (const [spec, message] of refused) expect(() => toDiffusersPipeline(spec)).toThrow(message);
});
