// Pictures of noise with classes, and the tiny diffusion model that trains on them.
import {
  buildLatentDiffusion,
  manualSeed,
  noise,
  type ImageBatch,
  type LatentDiffusion,
} from '../../lib/index.js';
import { tinySpec } from '../ldm/tiny_diffusion.js';
import { NumberedBatches } from './numbered_batches.js';

/** Batch k is noise that depends on k alone; classes go round. */
export class Pictures extends NumberedBatches<ImageBatch> {
  constructor(
    batchesPerEpoch = 3,
    private readonly size = 2,
  ) {
    super(batchesPerEpoch);
  }

  protected override batch(number: number): ImageBatch {
    const index = Array.from({ length: this.size }, (_, i) => number * this.size + i);
    return {
      image: noise([this.size, 16, 16, 3], { seed: 5, step: number }),
      index,
      path: index.map(String),
      label: index.map((i) => i % 4),
    };
  }
}

/** The same weights every time. */
export function makeModel(changed: Parameters<typeof tinySpec>[0] = {}): LatentDiffusion {
  manualSeed(1);
  return buildLatentDiffusion(tinySpec({ scaleByStd: true, ...changed }));
}
