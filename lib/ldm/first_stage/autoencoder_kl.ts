/** AutoencoderKL: perceptual compression with a KL-regularised latent (paper, section 3.1). */
import { check } from '../../errors.js';
import type { Linear } from '../../nn/index.js';
import { Module } from '../../nn/index.js';
import type { NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import { pointwise } from './blocks.js';
import { downsamplingOf, type AutoencoderConfig } from './config.js';
import { Decoder } from './decoder.js';
import { DiagonalGaussian } from './diagonal_gaussian.js';
import { Encoder } from './encoder.js';
import type { FirstStage, FirstStageSpec } from './first_stage.js';

/** Images [N, H, W, 3] in [-1, 1] to latents [N, H/f, W/f, embedDim] and back. */
export class AutoencoderKL
  extends Module<[Tensor, (Tensor | NoiseOptions)?], Reconstruction>
  implements FirstStage
{
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quant_conv: Linear;
  readonly post_quant_conv: Linear;

  constructor(readonly config: AutoencoderConfig) {
    super();
    const { ddconfig, embedDim } = config;
    check(ddconfig.doubleZ !== false, () => {
      return 'AutoencoderKL: ddconfig.doubleZ must be true: the encoder gives mean and log-variance.';
    });
    this.encoder = new Encoder(ddconfig);
    this.decoder = new Decoder(ddconfig);
    this.quant_conv = pointwise(2 * ddconfig.zChannels, 2 * embedDim);
    this.post_quant_conv = pointwise(embedDim, ddconfig.zChannels);
  }

  get spec(): FirstStageSpec {
    return { kind: 'kl', ...this.config };
  }

  get latentChannels(): number {
    return this.config.embedDim;
  }

  get downsampling(): number {
    return downsamplingOf(this.config.ddconfig);
  }

  /** The posterior over latents; sample it, or take its mode. */
  encode(images: Tensor): DiagonalGaussian {
    return new DiagonalGaussian(this.quant_conv.forward(this.encoder.forward(images)));
  }

  decode(latents: Tensor): Tensor {
    return this.decoder.forward(this.post_quant_conv.forward(latents));
  }

  /** A sample of the posterior with the given noise, or its mode without. */
  encodeToLatents(images: Tensor, noise?: Tensor | NoiseOptions): Tensor {
    return draw(this.encode(images), noise);
  }

  decodeLatents(latents: Tensor): Tensor {
    return this.decode(latents);
  }

  /** Encodes, samples the posterior with the given noise (or takes its mode without), decodes. */
  forward(images: Tensor, noise?: Tensor | NoiseOptions): Reconstruction {
    const posterior = this.encode(images);
    const latents = draw(posterior, noise);
    return { reconstruction: this.decode(latents), posterior, latents };
  }
}

function draw(posterior: DiagonalGaussian, noise?: Tensor | NoiseOptions): Tensor {
  return noise ? posterior.sample(noise) : posterior.mode();
}

export interface Reconstruction {
  reconstruction: Tensor;
  posterior: DiagonalGaussian;
  latents: Tensor;
}
