/** AutoencoderKL: perceptual compression with a KL-regularised latent (paper, section 3.1). */
import type { NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import { Autoencoder } from './autoencoder.js';
import { checkAutoencoderConfig, type AutoencoderConfig } from './config.js';
import { DiagonalGaussian } from './diagonal_gaussian.js';
import type { FirstStage, FirstStageSpec } from './first_stage.js';

/** Images [N, H, W, 3] in [-1, 1] to latents [N, H/f, W/f, embedDim] and back. */
export class AutoencoderKL
  extends Autoencoder<[Tensor, (Tensor | NoiseOptions)?], Reconstruction>
  implements FirstStage
{
  constructor(config: AutoencoderConfig) {
    checkAutoencoderConfig(config);
    super(config, true);
  }

  get spec(): FirstStageSpec {
    return { kind: 'kl', ...this.config };
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
