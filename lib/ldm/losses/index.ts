export { ActNorm } from './act_norm.js';
export {
  adaptiveWeight,
  adoptWeight,
  hingeDLoss,
  largestAdaptiveWeight,
  vanillaDLoss,
  hingeDLossWithExemplarWeights,
} from './adversarial.js';
export {
  type GeneratorInputs,
  type LossInputs,
  type LossParts,
  type LossTerms,
} from './adversarial_loss.js';
export {
  klLossConfig,
  vqLossConfig,
  type AdversarialLossConfig,
  type KlLossConfig,
  type VqLossConfig,
} from './config.js';
export { NLayerDiscriminator, type DiscriminatorOptions } from './discriminator.js';
export { LossHealth, type HealthOptions, type LoggedLosses } from './health.js';
export { LPIPSWithDiscriminator, type KlGeneratorInputs } from './lpips_with_discriminator.js';
export { VQLPIPSWithDiscriminator, type VqGeneratorInputs } from './vq_lpips_with_discriminator.js';
