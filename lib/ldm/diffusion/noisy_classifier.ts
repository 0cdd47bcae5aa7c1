/** Training of a classifier that guides sampling: it must know latents at every level of noise. */
import { argmax, crossEntropy, eq, topK } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import type { EncoderPool, EncoderUNetConfig } from '../unet/index.js';
import type { GaussianDiffusion } from './gaussian_diffusion.js';
import type { LatentDiffusionSpec } from './latent_diffusion_spec.js';

/** Cross-entropy of a batch, and how often the class was among the likeliest; all scalars. */
export interface ClassifierLoss {
  loss: Tensor;
  'acc@1': Tensor;
  'acc@5': Tensor;
}

/**
 * The loss of a noise-aware classifier (Dhariwal & Nichol, section 4; the original's
 * NoisyLatentImageClassifier).
 *
 * @param classifier logits [N, classes] of noisy latents at timesteps [N]
 * @param latents clean latents [N, h, w, C]
 * @param labels int64 [N]
 * @param t timesteps [N], uniform for training, or one level for an evaluation
 */
export function noisyClassifierLoss(
  classifier: (x: Tensor, t: Tensor) => Tensor,
  diffusion: GaussianDiffusion,
  { latents, labels, t, noise }: { latents: Tensor; labels: Tensor; t: Tensor; noise: Tensor },
): ClassifierLoss {
  const logits = classifier(diffusion.qSample(latents, t, noise), t);
  const [, likeliest] = topK(logits.detach(), Math.min(5, logits.shape[1]));
  return {
    loss: crossEntropy(logits, labels),
    'acc@1': eq(argmax(logits.detach(), 1), labels).to('float32').mean(),
    'acc@5': eq(likeliest, labels.reshape([-1, 1]))
      .to('float32')
      .sum(1)
      .mean(),
  };
}

/**
 * The classifier that the original makes for a diffusion model: the way down of its network, on its latents.
 *
 * @param pool default 'attention', which needs a network with numHeadChannels
 */
export function noisyClassifierConfig(
  { unet, imageSize }: LatentDiffusionSpec,
  classes: number,
  pool: EncoderPool = 'attention',
): EncoderUNetConfig {
  const { useSpatialTransformer: _, contextDim: __, transformerDepth: ___, ...rest } = unet;
  const { numClasses: ____, nEmbed: _____, ...network } = rest;
  return {
    ...network,
    imageSize: imageSize ?? unet.imageSize,
    inChannels: unet.outChannels,
    outChannels: classes,
    pool,
  };
}
