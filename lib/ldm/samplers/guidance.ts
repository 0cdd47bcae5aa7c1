/** Guidance: classifier-free (Ho & Salimans; paper, section 4.3.1 and appendix C) and by a classifier. */
import { enableGrad, grad } from '../../autograd/index.js';
import { check } from '../../errors.js';
import { concat, gather, logSoftmax } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';
import { noiseLevel } from './noise_level.js';

/** Named conditioning tensors [N, ...], such as `{ context }` or `{ y }`. */
export type Conditioning = Readonly<Record<string, Tensor>>;

/** A network with its conditioning as an argument. */
export type ConditionalDenoiser<C extends Conditioning> = (
  x: Tensor,
  t: Tensor,
  conditioning: C,
) => Tensor;

/**
 * ε = ε_u + scale·(ε_c - ε_u), both from one call on a doubled batch, the unconditional half first. With
 * scale 1, or nothing to guide away from, a single conditional call.
 */
export function guided<C extends Conditioning>(
  model: ConditionalDenoiser<C>,
  conditioning: C,
  unconditional: C | undefined,
  scale: number,
): Denoiser {
  if (unconditional === undefined || scale === 1) return (x, t) => model(x, t, conditioning);
  return guidedPairs(
    (x, t) => model(x, t, joinConditioning(unconditional, conditioning) as C),
    scale,
  );
}

/**
 * As {@link guided}, of a network that is bound to a doubled batch already: `denoise` takes every latent twice
 * and gives 2 N predictions, the unconditional ones first.
 */
export function guidedPairs(denoise: Denoiser, scale: number): Denoiser {
  return (x, t) => {
    const [without, withCondition] = denoise(concat([x, x], 0), concat([t, t], 0)).chunk(2, 0);
    return without.add(withCondition.sub(without).mul(scale));
  };
}

/** Both conditionings of a doubled batch, entry by entry. @throws ArgumentError when one lacks an entry */
export function joinConditioning(
  unconditional: Conditioning,
  conditioning: Conditioning,
): Conditioning {
  const names = Object.keys(conditioning);
  check(
    names.length === Object.keys(unconditional).length && names.every((n) => n in unconditional),
    () =>
      `guidance: both conditionings must have the same entries. Got ${names.join(', ') || 'none'} and ` +
      `${Object.keys(unconditional).join(', ') || 'none'}.`,
  );
  return Object.fromEntries(
    names.map((name) => [name, concat([unconditional[name], conditioning[name]], 0)]),
  );
}

export interface ClassifierGuidance {
  /** logits [N, classes] of noisy latents [N, h, w, C] at timesteps [N] */
  classifier: (x: Tensor, t: Tensor) => Tensor;
  /** the class wanted of each sample: int64 [N] */
  labels: Tensor;
  scale: number;
  schedule: NoiseSchedule;
}

/**
 * Classifier guidance (Dhariwal & Nichol, algorithm 2; paper, appendix C): ε - scale·√(1-ᾱ_t)·∇_x log p(y | x_t).
 * The network must predict ε.
 */
export function classifierGuided(denoise: Denoiser, guidance: ClassifierGuidance): Denoiser {
  const { classifier, labels, scale, schedule } = guidance;
  if (scale === 0) return denoise;
  return (x, t) => {
    const slope = enableGrad(() => {
      const input = x.detach();
      input.requiresGrad = true;
      const logits = classifier(input, t);
      const wanted = gather(logSoftmax(logits, 1), 1, labels.reshape([-1, 1])).sum();
      return grad(wanted, [input])[0]!;
    });
    const factor = noiseLevel(schedule, t)
      .reshape([-1, ...x.shape.slice(1).map(() => 1)])
      .mul(scale);
    return denoise(x, t).sub(slope.mul(factor.to(x.dtype)));
  };
}
