// The noise of a first stage's posterior as a tensor, so that nothing is drawn where a loss is recorded.
import { DiagonalGaussian, type DiffusionBatch, type LatentDiffusion } from '../ldm/index.js';
import { noise, type NoiseOptions } from '../random.js';
import type { Tensor } from '../tensor.js';

/** @returns the noise, and the batch with a posterior sampled that was encoded before */
export function drawEncoding<Batch extends Pick<DiffusionBatch, 'images' | 'encoded'>>(
  model: LatentDiffusion,
  batch: Batch,
  options: NoiseOptions,
): { batch: Batch; encoding: Tensor } {
  const encoding = noise(model.latentShape(batch), options);
  const { encoded } = batch;
  const latents = encoded instanceof DiagonalGaussian ? encoded.sample(encoding) : encoded;
  return { batch: { ...batch, encoded: latents }, encoding };
}
