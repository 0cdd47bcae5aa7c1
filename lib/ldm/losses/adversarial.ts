/** The adversarial terms of a first stage (paper, section 3.1 and appendix G; VQGAN, Esser et al., 2021). */
import { grad } from '../../autograd/index.js';
import { checkShape } from '../../errors.js';
import {
  add,
  clamp,
  div,
  mean,
  mul,
  neg,
  norm,
  relu,
  softplus,
  sub,
  sum,
} from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';

/** Limit of the adaptive weight: what it shows when the discriminator gives the generator no gradient. */
export const largestAdaptiveWeight = 1e4;

/** ½ (mean relu(1 − r) + mean relu(1 + f)) of logits r of real images and f of reconstructions. */
export function hingeDLoss(real: Tensor, fake: Tensor): Tensor {
  return add(mean(relu(sub(1, real))), mean(relu(add(1, fake)))).mul(0.5);
}

/** ½ (mean softplus(−r) + mean softplus(f)): cross entropy on logits (Goodfellow et al., 2014). */
export function vanillaDLoss(real: Tensor, fake: Tensor): Tensor {
  return add(mean(softplus(neg(real))), mean(softplus(fake))).mul(0.5);
}

/**
 * {@link hingeDLoss} with a weight per image: the two terms are averaged per image, then over images by weight.
 *
 * @param weights [N]
 */
export function hingeDLossWithExemplarWeights(real: Tensor, fake: Tensor, weights: Tensor): Tensor {
  const [N] = real.shape;
  checkShape(real.shape.join() === fake.shape.join() && weights.shape.join() === String(N), () => {
    const shapes = [real, fake, weights].map((x) => `[${x.shape.join(', ')}]`).join(', ');
    return `hingeDLossWithExemplarWeights: expected logits of one shape [N, ...] and weights [N], got ${shapes}`;
  });
  const average = (terms: Tensor): Tensor => {
    const perImage = mean(terms.reshape([N, -1]), 1); // [N]
    return div(sum(mul(weights, perImage)), sum(weights));
  };
  return add(average(relu(sub(1, real))), average(relu(add(1, fake)))).mul(0.5);
}

/** What the generator minimises, −mean f: the same for every loss of the discriminator. */
export function generatorLoss(fake: Tensor): Tensor {
  return neg(mean(fake));
}

/** `weight` from step `threshold` on, `value` before. */
export function adoptWeight(weight: number, step: number, threshold = 0, value = 0): number {
  return step < threshold ? value : weight;
}

/**
 * How strongly the generator's loss counts (VQGAN, equation 7): λ = ‖∇L_rec‖ / (‖∇L_G‖ + 10⁻⁴), limited to
 * [0, 10⁴], with gradients by the decoder's last layer. Both losses can be walked again afterwards.
 *
 * @param lastLayer weight of the layer that gives the reconstructions, `decoder.conv_out.weight`
 * @returns a scalar without history
 */
export function adaptiveWeight(
  reconstruction: Tensor,
  generator: Tensor,
  lastLayer: Tensor,
): Tensor {
  const size = (loss: Tensor): Tensor => norm(grad(loss, [lastLayer], { retainGraph: true })[0]);
  const ratio = div(size(reconstruction), size(generator).add(1e-4));
  return clamp(ratio, 0, largestAdaptiveWeight);
}
