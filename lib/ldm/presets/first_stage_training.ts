/** How the published first stages were trained, as data. */
import type { PublishedFirstStage } from './first_stages.js';

/** The loss of a KL model (LPIPSWithDiscriminator) as far as models differ in it. */
export interface KlLossPreset {
  kind: 'kl';
  /** of a sum over the latent's elements, beside a sum over the image's */
  klWeight: number;
  /** optimizer cycles before the discriminator takes part */
  discStart: number;
  /** factor on the adaptive weight of the adversarial term */
  discWeight: number;
  /** stages of the discriminator */
  discNumLayers: number;
}

/** The loss of a VQ model (VQLPIPSWithDiscriminator) as far as models differ in it. */
export interface VqLossPreset {
  kind: 'vq';
  codebookWeight: number;
  /** optimizer cycles before the discriminator takes part */
  discStart: number;
  /** factor on the adaptive weight of the adversarial term */
  discWeight: number;
  /** stages of the discriminator */
  discNumLayers: number;
}

export interface FirstStageTraining {
  /** per image: the rate is this times batch, accumulation and devices */
  baseLearningRate: number;
  /** of Adam, without weight decay, for autoencoder and discriminator alike */
  betas: readonly [number, number];
  /** images per batch and device */
  batchSize: number;
  /** batches per optimizer step */
  accumulateGradBatches: number;
  /** side of the square crops */
  resolution: number;
  /** to which the shorter side is scaled before the crop; null where the config names none */
  resizedTo: number | null;
  /** name of the data set */
  data: 'OpenImages' | 'ImageNetSR';
  loss: KlLossPreset | VqLossPreset;
  /** quantity by which the best checkpoints are kept; null for none */
  monitor: string | null;
  /** optimizer steps of the released weights; null where no weights were released */
  steps: number | null;
}

const common = {
  baseLearningRate: 4.5e-6,
  betas: [0.5, 0.9],
  accumulateGradBatches: 1,
  resolution: 256,
  resizedTo: 384,
  data: 'OpenImages',
  monitor: 'val/rec_loss',
} as const;

const klLoss: KlLossPreset = {
  kind: 'kl',
  klWeight: 1e-6,
  discStart: 50_001,
  discWeight: 0.5,
  discNumLayers: 3,
};

const vqLoss = (discStart: number, discWeight: number, discNumLayers: number): VqLossPreset => ({
  kind: 'vq',
  codebookWeight: 1,
  discStart,
  discWeight,
  discNumLayers,
});

const kl = (batchSize: number, steps: number): FirstStageTraining => ({
  ...common,
  batchSize,
  loss: klLoss,
  steps,
});

const vq = (batchSize: number, loss: VqLossPreset, steps: number): FirstStageTraining => ({
  ...common,
  batchSize,
  loss,
  steps,
});

/** The training of each published first stage (the released models' configurations). */
export const firstStageTraining: Readonly<Record<PublishedFirstStage, FirstStageTraining>> = {
  'kl-f4': kl(10, 176_991),
  'kl-f8': kl(4, 246_803),
  'kl-f16': kl(6, 442_998),
  'kl-f32': kl(6, 406_763),
  'vq-f4': { ...vq(8, vqLoss(0, 0.75, 3), 533_066), resizedTo: null },
  'vq-f4-noattn': { ...vq(8, vqLoss(11, 0.75, 3), 658_131), resizedTo: null },
  'vq-f8': vq(10, vqLoss(1, 0.6, 2), 971_043),
  'vq-f8-n256': vq(10, vqLoss(250_001, 0.75, 3), 1_608_649),
  'vq-f16': { ...vq(14, vqLoss(250_001, 0.75, 2), 1_101_166), monitor: null },
};

const trainingConfig: FirstStageTraining = {
  ...common,
  batchSize: 12,
  accumulateGradBatches: 2,
  resizedTo: 256,
  data: 'ImageNetSR',
  loss: klLoss,
  steps: null,
};

/** The KL models once more as the original's `configs/autoencoder` train them: larger batches, other data. */
export const autoencoderTraining: Readonly<
  Record<
    `autoencoder_kl_${'64x64x3' | '32x32x4' | '16x16x16' | '8x8x64'}`,
    { firstStage: PublishedFirstStage; training: FirstStageTraining }
  >
> = {
  autoencoder_kl_64x64x3: { firstStage: 'kl-f4', training: trainingConfig },
  autoencoder_kl_32x32x4: { firstStage: 'kl-f8', training: trainingConfig },
  autoencoder_kl_16x16x16: { firstStage: 'kl-f16', training: trainingConfig },
  autoencoder_kl_8x8x64: { firstStage: 'kl-f32', training: trainingConfig },
};
