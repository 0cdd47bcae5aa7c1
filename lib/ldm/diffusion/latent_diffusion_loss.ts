/** What the training loss of a latent diffusion model takes and gives. */
import type { NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import type { ConditionInput } from '../conditioning/index.js';
import type { DiagonalGaussian } from '../first_stage/index.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';

/** Pictures, and what they are conditioned on. */
export interface DiffusionBatch {
  /** [N, H, W, 3] in [-1, 1]. This or `encoded` */
  images?: Tensor;
  /** what the first stage made of them: unscaled latents [N, h, w, C], or a KL model's posterior */
  encoded?: Tensor | DiagonalGaussian;
  condition?: ConditionInput;
  /** the condition, encoded already */
  conditioning?: NetworkConditioning;
}

/** Everything random in a loss. */
export interface LossDraws {
  /** timesteps, int64 [N] in 0..T-1 */
  t: Tensor;
  /** ε of the latents' shape */
  noise: Tensor;
  /** of the first stage's posterior; default: its mode */
  encoding?: Tensor | NoiseOptions;
  /** bool [N]: which samples lose their condition, so that guidance has something to lead away from */
  dropped?: Tensor;
  /** of the conditioning, where `numTimestepsCond` is above 1 */
  conditioning?: NoiseOptions;
}

/** A loss, and what the original logs beside it under its names. */
export interface LatentDiffusionLoss {
  loss: Tensor;
  log: Record<string, Tensor>;
}
