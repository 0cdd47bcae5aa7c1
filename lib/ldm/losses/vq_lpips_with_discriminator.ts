/** The loss of VQ-regularised first stages (paper, section 3.1; VQGAN, Esser et al., 2021). */
import { full } from '../../creation.js';
import { check } from '../../errors.js';
import { detach, gt, mean, sum } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import { codePerplexity, countCodes } from '../first_stage/code_usage.js';
import {
  AdversarialLoss,
  type GeneratorInputs,
  type LossParts,
  type LossTerms,
} from './adversarial_loss.js';
import type { VqLossConfig } from './config.js';

export interface VqGeneratorInputs extends GeneratorInputs {
  /** The quantiser's loss; its mean counts. */
  codebookLoss: Tensor;
  /** The chosen codes, to log how much of the codebook is used. */
  indices?: Tensor;
}

/** Reconstruction, codebook and adversary: L = mean(|x − x̂| + p·LPIPS) + d·discFactor·L_G + c·L_codebook. */
export class VQLPIPSWithDiscriminator extends AdversarialLoss<VqLossConfig, VqGeneratorInputs> {
  constructor(config: VqLossConfig, parts: LossParts = {}) {
    super('VQLPIPSWithDiscriminator', config, parts);
  }

  /**
   * Logs total_loss, quant_loss, nll_loss, rec_loss, p_loss, d_weight, disc_factor and g_loss; with `indices`
   * also perplexity and cluster_usage.
   *
   * @throws ShapeError when inputs and reconstructions differ in shape
   */
  generatorLoss(args: VqGeneratorInputs): LossTerms {
    const { pixelLoss = 'l1', codebookWeight = 1 } = this.config;
    const distances = this.distances(args, pixelLoss);
    const nllLoss = mean(this.combined(distances));
    const quantLoss = mean(args.codebookLoss);
    const adversarial = this.adversarial(nllLoss, args);

    const honest = nllLoss.add(quantLoss.mul(codebookWeight));
    const loss = adversarial.term ? honest.add(adversarial.term) : honest;
    const { perceptual } = distances;
    const { dtype, device } = nllLoss;
    return {
      loss,
      log: {
        total_loss: detach(loss),
        quant_loss: detach(quantLoss),
        nll_loss: detach(nllLoss),
        rec_loss: detach(nllLoss),
        p_loss: perceptual ? detach(mean(perceptual)) : full([], 0, { dtype, device }),
        ...adversarial.log,
        ...this.#usage(args.indices),
      },
    };
  }

  #usage(indices: Tensor | undefined): Record<string, Tensor> {
    if (!indices) return {};
    const { nClasses } = this.config;
    check(nClasses, () => {
      return 'VQLPIPSWithDiscriminator: indices need nClasses, the size of the codebook';
    });
    return {
      perplexity: codePerplexity(indices, nClasses),
      cluster_usage: sum(gt(countCodes(indices, nClasses), 0)).to('float32'),
    };
  }
}
