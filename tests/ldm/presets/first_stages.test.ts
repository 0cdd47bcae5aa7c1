// The zoo: parameter counts and state sizes of the originals, and the geometry of every preset.
import { describe, expect, it } from 'vitest';
import {
  autoencoderTraining,
  buildFirstStage,
  firstStagePresets,
  firstStageTraining,
  type AutoencoderKL,
  type FirstStagePreset,
  type PublishedFirstStage,
  type VQModel,
} from '../../../lib/index.js';

/** Of the instantiated originals: encoder, decoder, all; keys of a checkpoint, which holds the loss too. */
const published: Record<PublishedFirstStage, readonly [number, number, number, number]> = {
  'kl-f4': [22_351_238, 32_960_771, 55_312_063, 260],
  'kl-f8': [34_163_592, 49_490_179, 83_653_863, 304],
  'kl-f16': [28_265_760, 41_343_875, 69_610_963, 398],
  'kl-f32': [42_614_656, 61_244_803, 103_880_131, 492],
  'vq-f4': [22_337_411, 32_960_771, 55_322_782, 260],
  'vq-f4-noattn': [21_285_763, 31_909_123, 53_219_486, 240],
  'vq-f8': [27_397_764, 40_253_955, 67_717_295, 348],
  'vq-f8-n256': [27_397_764, 40_253_955, 67_652_783, 354],
  'vq-f16': [28_155_144, 41_307_011, 69_593_371, 392],
};

/** LPIPS: 13 convolutions, 5 heads, shift and scale. */
const lpipsKeys = 13 * 2 + 5 + 2;

/** Keys of the PatchGAN: first and last convolution, then weight and batch norm of each stage. */
const discriminatorKeys = (layers: number) => 2 + layers * (1 + 5) + 2;

describe.each(Object.entries(published))('%s', (name, [encoder, decoder, total, keys]) => {
  it('has the parameters of the original', () => {
    const preset = name as PublishedFirstStage;
    const model = buildFirstStage(firstStagePresets[preset]) as AutoencoderKL | VQModel;
    expect(model.encoder.parameterCount()).toBe(encoder);
    expect(model.decoder.parameterCount()).toBe(decoder);
    expect(model.parameterCount()).toBe(total);
    const { loss } = firstStageTraining[preset];
    const logvar = loss.kind === 'kl' ? 1 : 0;
    const lossKeys = logvar + lpipsKeys + discriminatorKeys(loss.discNumLayers);
    expect(model.stateDict().size + lossKeys).toBe(keys);
    model.dispose();
  });
});

/** Table 8 of the paper: f, number of codes (0 for KL), channels of the latent. */
const table8: Record<FirstStagePreset, readonly [number, number, number]> = {
  'vq-f32': [32, 16_384, 16],
  'vq-f16': [16, 16_384, 8],
  'vq-f8': [8, 16_384, 4],
  'vq-f8-n256': [8, 256, 4],
  'vq-f4': [4, 8192, 3],
  'vq-f4-noattn': [4, 8192, 3],
  'vq-f4-n256': [4, 256, 3],
  'vq-f2': [2, 2048, 2],
  'vq-f2-n64': [2, 64, 2],
  'kl-f32': [32, 0, 64],
  'kl-f32-c16': [32, 0, 16],
  'kl-f16': [16, 0, 16],
  'kl-f16-c8': [16, 0, 8],
  'kl-f8': [8, 0, 4],
  'kl-f4': [4, 0, 3],
  'kl-f2': [2, 0, 2],
  identity: [1, 0, 3],
};

describe('firstStagePresets', () => {
  it.each(Object.entries(table8))('%s has the latent of Table 8', (name, [f, codes, channels]) => {
    const preset = firstStagePresets[name as FirstStagePreset];
    // the same layers on few channels: geometry does not depend on width
    const model = buildFirstStage(
      preset.kind === 'identity' ? preset : { ...preset, ddconfig: { ...preset.ddconfig, ch: 32 } },
    );
    expect(model.downsampling).toBe(f);
    expect(model.latentChannels).toBe(channels);
    expect('nEmbed' in preset ? preset.nEmbed : 0).toBe(codes);
    model.dispose();
  });

  it('names every row', () => {
    expect(Object.keys(firstStagePresets).sort()).toEqual(Object.keys(table8).sort());
  });
});

describe('training', () => {
  it('scales the rate by the batch: 12 images, twice, one device', () => {
    const { firstStage, training } = autoencoderTraining.autoencoder_kl_32x32x4;
    expect(firstStage).toBe('kl-f8');
    const { baseLearningRate, batchSize, accumulateGradBatches } = training;
    expect(baseLearningRate * batchSize * accumulateGradBatches).toBeCloseTo(1.08e-4, 12);
  });

  it('fits the loss to the model', () => {
    for (const [name, { loss }] of Object.entries(firstStageTraining)) {
      expect(loss.kind).toBe(firstStagePresets[name as PublishedFirstStage].kind);
    }
  });
});
