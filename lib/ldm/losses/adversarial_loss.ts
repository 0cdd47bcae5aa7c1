/** What the losses of both first stages share: LPIPS, the discriminator, and their weights over time. */
import { full } from '../../creation.js';
import { check, checkShape } from '../../errors.js';
import type { Lpips } from '../../metrics/lpips.js';
import { l1Loss, Module, mseLoss } from '../../nn/index.js';
import { concat, detach, mean, mul } from '../../ops/index.js';
import type { Generator } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import {
  adaptiveWeight,
  adoptWeight,
  generatorLoss,
  hingeDLoss,
  vanillaDLoss,
} from './adversarial.js';
import { complete, type AdversarialLossConfig, type Complete } from './config.js';
import { NLayerDiscriminator } from './discriminator.js';
import { immediateGradient } from './immediate_gradient.js';

export interface LossParts {
  /** The perceptual network with its weights; needed unless `perceptualWeight` is 0. */
  perceptual?: Lpips | null;
  /** Where the discriminator's weights come from. Default: the global generator. */
  generator?: Generator;
}

/** What every pass of a loss takes. */
export interface LossInputs {
  /** The images, [N, H, W, C] in [-1, 1]. */
  inputs: Tensor;
  /** Of the same shape. */
  reconstructions: Tensor;
  /** Optimizer cycles so far. */
  globalStep: number;
  /** [N, H, W, K], with `discConditional` only. */
  cond?: Tensor;
}

export interface GeneratorInputs extends LossInputs {
  /** Weight of the decoder's last layer, `decoder.conv_out.weight`. */
  lastLayer: Tensor;
}

export interface LossTerms {
  /** The scalar to minimise. */
  loss: Tensor;
  /** Scalars to log under the original's names, without history. */
  log: Record<string, Tensor>;
}

/**
 * Its fields are a checkpoint's keys below `loss.`. For mixed precision take bfloat16: gradients are taken here
 * before a scaler sees the loss, and float16 rounds the small ones away.
 */
export abstract class AdversarialLoss<
  C extends AdversarialLossConfig,
  G extends GeneratorInputs,
> extends Module<[G], LossTerms> {
  readonly perceptual_loss: Lpips | null;
  readonly discriminator: NLayerDiscriminator;
  readonly config: Complete<C>;

  constructor(what: string, config: C, parts: LossParts) {
    super();
    this.config = complete(what, config);
    const { discInChannels, discNdf, discNumLayers, useActnorm } = this.config;
    this.perceptual_loss = parts.perceptual ?? null;
    check(this.perceptual_loss || this.config.perceptualWeight === 0, () => {
      return (
        `${what}: perceptualWeight ${this.config.perceptualWeight} needs the perceptual network: pass ` +
        '{ perceptual: await loadLpips(...) }, or set perceptualWeight to 0'
      );
    });
    this.discriminator = new NLayerDiscriminator({
      inputNc: discInChannels,
      ndf: discNdf,
      nLayers: discNumLayers,
      useActnorm,
      generator: parts.generator,
    });
  }

  /** The loss of encoder and decoder. Without gradients, as in validation, the adaptive weight is 0. */
  abstract generatorLoss(inputs: G): LossTerms;

  /** Same as {@link generatorLoss}. */
  forward(inputs: G): LossTerms {
    return this.generatorLoss(inputs);
  }

  /**
   * The loss of the discriminator on the images and, as a batch of its own, their reconstructions. No gradient
   * leaves it: the reconstructions may be made without recording.
   */
  discriminatorLoss({ inputs, reconstructions, globalStep, cond }: LossInputs): LossTerms {
    const real = this.#judge(detach(inputs), cond);
    const fake = this.#judge(detach(reconstructions), cond);
    const distance = this.config.discLoss === 'hinge' ? hingeDLoss : vanillaDLoss;
    const loss = mul(distance(real, fake), this.discriminatorFactor(globalStep));
    return {
      loss,
      log: {
        disc_loss: detach(loss),
        logits_real: detach(mean(real)),
        logits_fake: detach(mean(fake)),
      },
    };
  }

  /** What the discriminator counts for after so many optimizer cycles: `discFactor`, or 0 before `discStart`. */
  discriminatorFactor(globalStep: number): number {
    return adoptWeight(this.config.discFactor, globalStep, this.config.discStart);
  }

  /** The distance of every pixel, and LPIPS of the images, [N, 1, 1, 1], or null with weight 0. */
  protected distances(
    { inputs, reconstructions }: LossInputs,
    pixelLoss: 'l1' | 'l2',
  ): { pixels: Tensor; perceptual: Tensor | null } {
    const distance = pixelLoss === 'l1' ? l1Loss : mseLoss;
    const pixels = distance(inputs, reconstructions, { reduction: 'none' });
    const network = this.config.perceptualWeight > 0 ? this.perceptual_loss : null;
    const perceptual =
      network && immediateGradient(reconstructions, (images) => network.forward(inputs, images));
    return { pixels, perceptual };
  }

  /** Pixels and LPIPS weighed together; the one value of an image counts at each of its elements. */
  protected combined({
    pixels,
    perceptual,
  }: {
    pixels: Tensor;
    perceptual: Tensor | null;
  }): Tensor {
    return perceptual ? pixels.add(perceptual.mul(this.config.perceptualWeight)) : pixels;
  }

  /**
   * The weighted adversarial term of the generator, or null if it is left out, and what is logged of it.
   *
   * @param nll the loss that the adaptive weight measures against
   */
  protected adversarial(nll: Tensor, args: G): { term: Tensor | null; log: LossTerms['log'] } {
    const { reconstructions, cond, globalStep } = args;
    const factor = this.discriminatorFactor(globalStep);
    const { dtype, device } = nll;
    const constant = (value: number): Tensor => full([], value, { dtype, device });
    const log = { disc_factor: constant(factor) };
    if (factor === 0 && this.config.skipIdleDiscriminator)
      return { term: null, log: { d_weight: constant(0), ...log, g_loss: constant(0) } };

    const gLoss = generatorLoss(this.#judge(reconstructions, cond));
    const weight = this.#adaptiveWeight(nll, gLoss, args) ?? constant(0);
    return {
      term: mul(gLoss, mul(weight, factor)),
      log: { d_weight: weight, ...log, g_loss: detach(gLoss) },
    };
  }

  /** Whether the adversarial term has an adaptive weight, even if its factor leaves it out. */
  protected isWeighed(): boolean {
    return true;
  }

  #adaptiveWeight(nll: Tensor, gLoss: Tensor, args: G): Tensor | null {
    // Nothing was recorded that a gradient could pass through, or nothing is to be weighed.
    if (!args.reconstructions.requiresGrad || !gLoss.requiresGrad || !this.isWeighed()) return null;
    return adaptiveWeight(nll, gLoss, args.lastLayer).mul(this.config.discWeight);
  }

  #judge(images: Tensor, cond: Tensor | undefined): Tensor {
    check(!cond === !this.config.discConditional, () => {
      return cond
        ? `${this.constructor.name}: cond was given; set discConditional to use it`
        : `${this.constructor.name}: discConditional needs cond with every call`;
    });
    const seen = cond ? concat([images, cond], 3) : images;
    const { discInChannels } = this.config;
    checkShape(seen.shape[3] === discInChannels, () => {
      return (
        `${this.constructor.name}: the discriminator takes ${discInChannels} channels (discInChannels), ` +
        `got ${seen.shape[3]}`
      );
    });
    return this.discriminator.forward(seen);
  }
}
