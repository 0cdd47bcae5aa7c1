// A model of label maps so small that a step takes milliseconds: 32 x 32 pixels, latents of 8 x 8.
import type { LatentDiffusionSpec } from '../../../lib/index.js';
import { plainSpec } from '../tiny_diffusion.js';

/** f = 4, as the published models: maps are halved twice, and 3 channels of them joined to the latents. */
export function semanticSpec(labels: number): LatentDiffusionSpec {
  const { unet, firstStage, ...rest } = plainSpec();
  if (firstStage.kind !== 'kl') throw new Error('expected a KL model');
  const { ddconfig } = firstStage;
  return {
    ...rest,
    unet: { ...unet, inChannels: 6 },
    firstStage: { ...firstStage, ddconfig: { ...ddconfig, chMult: [1, 1, 2], resolution: 32 } },
    conditioner: {
      kind: 'spatial-rescaler',
      nStages: 2,
      inChannels: labels,
      outChannels: 3,
    },
    conditioningKey: 'concat',
    conditionerTrainable: true,
  };
}
