/** The loss of KL-regularised first stages (paper, section 3.1 and appendix G). */
import { full } from '../../creation.js';
import { parameter } from '../../nn/index.js';
import { detach, exp, mean, mul, sum } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import type { DiagonalGaussian } from '../first_stage/diagonal_gaussian.js';
import {
  AdversarialLoss,
  type GeneratorInputs,
  type LossParts,
  type LossTerms,
} from './adversarial_loss.js';
import type { KlLossConfig } from './config.js';

export interface KlGeneratorInputs extends GeneratorInputs {
  /** The encoder's distribution of latents. */
  posterior: Pick<DiagonalGaussian, 'kl'>;
  /** Weighs the reconstruction per element, broadcast to [N, H, W, C]; the adaptive weight ignores it. */
  weights?: Tensor;
}

/**
 * Reconstruction, divergence and adversary:
 * L = Σ (|x − x̂| + p·LPIPS) / N + klWeight·Σ KL / N + d·discFactor·L_G.
 *
 * LPIPS is added to every element before the sum, so its weight grows with the image. `logvar` would scale the
 * reconstruction, but the original gives it to no optimizer: leave it out too, and it stays as it began.
 */
export class LPIPSWithDiscriminator extends AdversarialLoss<KlLossConfig, KlGeneratorInputs> {
  readonly logvar: Tensor; // []

  constructor(config: KlLossConfig, parts: LossParts = {}) {
    super('LPIPSWithDiscriminator', config, parts);
    this.logvar = parameter(full([], config.logvarInit ?? 0));
  }

  /**
   * Logs total_loss, logvar, kl_loss, nll_loss, rec_loss, d_weight, disc_factor and g_loss.
   *
   * @throws ShapeError when inputs and reconstructions differ in shape
   */
  generatorLoss(args: KlGeneratorInputs): LossTerms {
    const [batch] = args.inputs.shape;
    const rec = this.combined(this.distances(args, 'l1')); // [N, H, W, C]
    const nll = rec.div(exp(this.logvar)).add(this.logvar);
    const nllLoss = sum(nll).div(batch);
    const weighted = args.weights ? sum(mul(nll, args.weights)).div(batch) : nllLoss;
    const klLoss = sum(args.posterior.kl()).div(batch);
    const adversarial = this.adversarial(nllLoss, args);

    const honest = weighted.add(klLoss.mul(this.config.klWeight ?? 1));
    const loss = adversarial.term ? honest.add(adversarial.term) : honest;
    return {
      loss,
      log: {
        total_loss: detach(loss),
        logvar: detach(this.logvar),
        kl_loss: detach(klLoss),
        nll_loss: detach(nllLoss),
        rec_loss: detach(mean(rec)),
        ...adversarial.log,
      },
    };
  }

  // The original's loss of VQ models has no such shortcut.
  protected override isWeighed(): boolean {
    return this.config.discFactor !== 0;
  }
}
