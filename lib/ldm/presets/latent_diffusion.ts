/** The published latent diffusion models as specs (the paper's Tables 12 to 15, the released configurations). */
import type { DiffusionConfig, LatentDiffusionSpec } from '../diffusion/index.js';
import type { FirstStageSpec } from '../first_stage/index.js';
import type { UNetConfig } from '../unet/index.js';
import { firstStagePresets, type PublishedFirstStage } from './first_stages.js';

// A diffusion model works on a VQ model's latents before quantisation.
function firstStage(name: PublishedFirstStage): FirstStageSpec {
  const spec = firstStagePresets[name];
  return spec.kind === 'vq' ? { ...spec, kind: 'vq-interface' } : spec;
}

// Networks that attend to a context.
const attending = { useSpatialTransformer: true, transformerDepth: 1 } as const;

function unet(
  imageSize: number,
  channels: number | readonly [from: number, to: number],
  rest: Omit<UNetConfig, 'imageSize' | 'inChannels' | 'outChannels' | 'numResBlocks'>,
): UNetConfig {
  const [inChannels, outChannels] = typeof channels === 'number' ? [channels, channels] : channels;
  return { imageSize, inChannels, outChannels, numResBlocks: 2, ...rest };
}

const schedule = (linearStart: number, linearEnd: number, lossType?: 'l1'): DiffusionConfig => ({
  linearStart,
  linearEnd,
  ...(lossType && { lossType }),
});

/** Of the models of texts with 320 channels. */
const widest = {
  ...{ modelChannels: 320, attentionResolutions: [4, 2, 1], channelMult: [1, 2, 4, 4] },
  ...{ numHeads: 8, useCheckpoint: true, legacy: false },
  ...attending,
};

const unconditional: LatentDiffusionSpec = {
  unet: unet(64, 3, {
    modelChannels: 224,
    attentionResolutions: [8, 4, 2],
    channelMult: [1, 2, 3, 4],
    numHeadChannels: 32,
  }),
  firstStage: firstStage('vq-f4'),
  conditioner: { kind: 'none' },
  diffusion: schedule(0.0015, 0.0195),
  imageSize: 64,
};

const semantic = (imageSize: number): LatentDiffusionSpec => ({
  unet: unet(imageSize, [6, 3], {
    modelChannels: 128,
    attentionResolutions: [32, 16, 8],
    channelMult: [1, 4, 8],
    numHeads: 8,
  }),
  firstStage: firstStage('vq-f4'),
  conditioner: { kind: 'spatial-rescaler', nStages: 2, inChannels: 182, outChannels: 3 },
  conditioningKey: 'concat',
  conditionerTrainable: true,
  diffusion: schedule(0.0015, 0.0205, 'l1'),
  imageSize,
});

const stableDiffusion: LatentDiffusionSpec = {
  unet: unet(32, 4, {
    ...widest,
    contextDim: 768,
  }),
  firstStage: firstStage('kl-f8'),
  conditioner: { kind: 'clip' },
  conditioningKey: 'crossattn',
  diffusion: schedule(0.00085, 0.012),
  imageSize: 64,
  scaleFactor: 0.18215,
};

const specs = {
  celeba256: unconditional,
  ffhq256: unconditional,
  lsun_beds256: unconditional,
  lsun_churches256: {
    unet: unet(32, 4, {
      modelChannels: 192,
      attentionResolutions: [1, 2, 4, 8],
      channelMult: [1, 2, 2, 4, 4],
      numHeads: 8,
      useScaleShiftNorm: true,
      resblockUpdown: true,
    }),
    firstStage: firstStage('kl-f8'),
    conditioner: { kind: 'none' },
    diffusion: schedule(0.0015, 0.0155, 'l1'),
    imageSize: 32,
    scaleByStd: true,
  },
  cin256: {
    unet: unet(32, 4, {
      modelChannels: 256,
      attentionResolutions: [4, 2, 1],
      channelMult: [1, 2, 4],
      numHeadChannels: 32,
      ...attending,
      contextDim: 512,
    }),
    firstStage: firstStage('vq-f8'),
    conditioner: { kind: 'class', embedDim: 512 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: schedule(0.0015, 0.0195),
    imageSize: 32,
  },
  'cin256-v2': {
    unet: unet(64, 3, {
      modelChannels: 192,
      attentionResolutions: [8, 4, 2],
      channelMult: [1, 2, 3, 5],
      numHeads: 1,
      ...attending,
      contextDim: 512,
    }),
    firstStage: firstStage('vq-f4'),
    conditioner: { kind: 'class', embedDim: 512, nClasses: 1001, unconditionalClass: 1000 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: schedule(0.0015, 0.0195),
    imageSize: 64,
  },
  text2img256: {
    unet: unet(64, 3, {
      modelChannels: 192,
      attentionResolutions: [8, 4, 2],
      channelMult: [1, 2, 3, 5],
      numHeadChannels: 32,
      ...attending,
      contextDim: 640,
    }),
    firstStage: firstStage('vq-f4'),
    conditioner: { kind: 'bert', nEmbed: 640, nLayer: 32 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: schedule(0.0015, 0.0195),
    imageSize: 64,
  },
  'txt2img-1p4B': {
    unet: unet(32, 4, {
      ...widest,
      contextDim: 1280,
    }),
    firstStage: firstStage('kl-f8'),
    conditioner: { kind: 'bert', nEmbed: 1280, nLayer: 32 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: schedule(0.00085, 0.012),
    imageSize: 32,
    scaleFactor: 0.18215,
  },
  'layout2img-openimages256': {
    unet: unet(64, 3, {
      modelChannels: 128,
      attentionResolutions: [8, 4, 2],
      channelMult: [1, 2, 3, 4],
      numHeadChannels: 32,
      ...attending,
      transformerDepth: 3,
      contextDim: 512,
    }),
    firstStage: firstStage('vq-f4'),
    conditioner: {
      kind: 'bert',
      nEmbed: 512,
      nLayer: 16,
      vocabSize: 8192,
      maxSeqLen: 92,
      useTokenizer: false,
    },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: schedule(0.0015, 0.0205, 'l1'),
    imageSize: 64,
  },
  semantic_synthesis256: semantic(64),
  semantic_synthesis512: semantic(128),
  bsr_sr: {
    unet: unet(64, [6, 3], {
      modelChannels: 160,
      attentionResolutions: [16, 8],
      channelMult: [1, 2, 2, 4],
      numHeadChannels: 32,
    }),
    firstStage: firstStage('vq-f4'),
    conditioner: { kind: 'identity' },
    conditioningKey: 'concat',
    diffusion: schedule(0.0015, 0.0155),
    imageSize: 64,
  },
  inpainting_big: {
    unet: unet(64, [7, 3], {
      modelChannels: 256,
      attentionResolutions: [8, 4, 2],
      channelMult: [1, 2, 3, 4],
      numHeads: 8,
      resblockUpdown: true,
    }),
    firstStage: firstStage('vq-f4-noattn'),
    conditioner: { kind: 'first-stage' },
    conditioningKey: 'concat',
    diffusion: schedule(0.0015, 0.0205, 'l1'),
    imageSize: 64,
  },
  rdm: {
    unet: unet(48, 16, {
      modelChannels: 448,
      attentionResolutions: [4, 2, 1],
      channelMult: [1, 2, 3, 4],
      numHeadChannels: 32,
      ...attending,
      contextDim: 768,
      useCheckpoint: true,
    }),
    firstStage: firstStage('kl-f16'),
    conditioner: { kind: 'identity' },
    conditioningKey: 'crossattn',
    diffusion: schedule(0.0015, 0.015),
    imageSize: 48,
    scaleFactor: 0.22765929,
  },
  'stable-diffusion-v1': stableDiffusion,
  'stable-diffusion-v1-inpainting': {
    ...stableDiffusion,
    // latents, the mask, and latents of the masked picture
    unet: { ...stableDiffusion.unet, inChannels: 9 },
    conditioner: {
      kind: 'hybrid',
      concat: { kind: 'masked-latents' },
      crossattn: { kind: 'clip' },
    },
    conditioningKey: 'hybrid',
  },
} satisfies Record<string, LatentDiffusionSpec>;

export type LatentDiffusionPreset = keyof typeof specs;

/**
 * The released models by the names of their folders; `rdm` is the retrieval-augmented one of 768x768 pixels, and
 * `stable-diffusion-v1` the successor of `txt2img-1p4B`, in its versions 1.1 to 1.5, with a model for inpainting. With
 * EMA weights in their files, but for `cin256-v2` and `txt2img-1p4B`; of Stable Diffusion there are files with and
 * without.
 */
export const latentDiffusionPresets: Readonly<Record<LatentDiffusionPreset, LatentDiffusionSpec>> =
  specs;
