// Latent diffusion models so small that a step takes milliseconds.
import type { LatentDiffusionSpec } from '../../lib/index.js';

/** 16x16 pixels to 8x8 latents of a KL model; 5 classes, the last of which means "none", by cross-attention. */
export function tinySpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  return {
    unet: {
      imageSize: 8,
      inChannels: 3,
      outChannels: 3,
      modelChannels: 8,
      numResBlocks: 1,
      attentionResolutions: [1],
      channelMult: [1, 2],
      numHeads: 2,
      useSpatialTransformer: true,
      contextDim: 6,
      normGroups: 4,
    },
    firstStage: {
      kind: 'kl',
      embedDim: 3,
      ddconfig: {
        ch: 8,
        outCh: 3,
        chMult: [1, 2],
        numResBlocks: 1,
        inChannels: 3,
        resolution: 16,
        zChannels: 3,
        normGroups: 4,
      },
    },
    conditioner: { kind: 'class', embedDim: 6, nClasses: 5, unconditionalClass: 4 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: { linearStart: 0.0015, linearEnd: 0.0195 },
    ...changed,
  };
}

/** The same without conditioning: attention blocks instead of transformers. */
export function plainSpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  const { unet, firstStage, diffusion } = tinySpec();
  const { contextDim: _, useSpatialTransformer: __, ...rest } = unet;
  return { unet: rest, firstStage, diffusion, ...changed };
}
