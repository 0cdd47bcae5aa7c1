/** Sampling that is led by a classifier: the option of `LatentDiffusion.sample`, checked and bound. */
import { tensor } from '../../creation.js';
import { check, checkShape } from '../../errors.js';
import type { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { classifierGuided } from '../samplers/index.js';
import type { Denoiser } from './gaussian_diffusion.js';
import type { LatentDiffusion } from './latent_diffusion.js';

/** Leads samples to classes that a classifier of noisy latents knows. */
export interface ClassifierOptions {
  /** logits [N, classes] of the scaled latents [N, h, w, C] at timesteps [N], such as a trained `EncoderUNetModel` */
  model: Module<[x: Tensor, t: Tensor], Tensor>;
  /** the class wanted of each sample, or one for all */
  classes: number | readonly number[];
  /** default 1; the paper's guided ImageNet samples have 10 */
  scale?: number;
}

/**
 * The denoiser with its predictions corrected. It uploads what it looks up, so it cannot be recorded.
 *
 * @throws ArgumentError when the network does not predict ε, or classes and samples do not agree
 */
export function ledByClassifier(
  { diffusion, betas }: LatentDiffusion,
  denoise: Denoiser,
  count: number,
  { model, classes, scale = 1 }: ClassifierOptions,
): Denoiser {
  const { parameterization, schedule } = diffusion;
  check(parameterization === 'eps', () => {
    return `LatentDiffusion: a classifier corrects a predicted ε, and this network predicts ${parameterization}.`;
  });
  check(Number.isFinite(scale), () => {
    return `LatentDiffusion: the classifier's scale must be a number. Got ${scale}.`;
  });
  const wanted = [classes].flat();
  const ids = wanted.length === 1 ? new Array<number>(count).fill(wanted[0]) : wanted;
  checkShape(ids.length === count, () => {
    return `LatentDiffusion: ${count} samples need as many classes of the classifier, or one. Got ${ids.length}.`;
  });
  const odd = ids.find((id) => !Number.isSafeInteger(id) || id < 0);
  check(odd === undefined, () => {
    return `LatentDiffusion: classes are whole numbers from 0. Got ${odd}.`;
  });
  const classifier = (x: Tensor, t: Tensor): Tensor => {
    const logits = model.forward(x, t);
    checkShape(logits.rank === 2 && logits.shape[1] > Math.max(...ids), () => {
      return (
        `LatentDiffusion: the classifier must tell more than ${Math.max(...ids)} classes. ` +
        `It gave logits of shape [${logits.shape.join(', ')}].`
      );
    });
    return logits;
  };
  const labels = tensor(BigInt64Array.from(ids, BigInt), { device: betas.device });
  return classifierGuided(denoise, { classifier, labels, scale, schedule });
}
