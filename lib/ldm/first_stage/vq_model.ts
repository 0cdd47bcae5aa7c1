/** VQModel: perceptual compression with a learned codebook (paper, section 3.1). */
import type { Linear } from '../../nn/index.js';
import { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { pointwise } from './blocks.js';
import type { VqConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder } from './encoder.js';
import { VectorQuantizer, type Quantized, type QuantizerOptions } from './vector_quantizer.js';

/**
 * Images [N, H, W, 3] in [-1, 1] to latents [N, H/f, W/f, embedDim] and back. A diffusion model works on
 * the latents before quantisation (`encodeToPrequant`), and quantising is the decoder's first layer.
 */
export class VQModel extends Module<[Tensor], VqReconstruction> {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quantize: VectorQuantizer;
  readonly quant_conv: Linear;
  readonly post_quant_conv: Linear;

  constructor(
    readonly config: VqConfig,
    options: QuantizerOptions = {},
  ) {
    super();
    const { ddconfig, embedDim, nEmbed } = config;
    this.encoder = new Encoder({ ...ddconfig, doubleZ: ddconfig.doubleZ ?? false });
    this.decoder = new Decoder(ddconfig);
    this.quantize = new VectorQuantizer(nEmbed, embedDim, options);
    this.quant_conv = pointwise(ddconfig.zChannels, embedDim);
    this.post_quant_conv = pointwise(embedDim, ddconfig.zChannels);
  }

  /** Latents before quantisation. */
  encodeToPrequant(images: Tensor): Tensor {
    return this.quant_conv.forward(this.encoder.forward(images));
  }

  encode(images: Tensor): Quantized {
    return this.quantize.forward(this.encodeToPrequant(images));
  }

  /** Decodes quantised latents. */
  decode(latents: Tensor): Tensor {
    return this.decoder.forward(this.post_quant_conv.forward(latents));
  }

  /** Quantises, then decodes: what a diffusion model's latents need. */
  quantizeAndDecode(latents: Tensor): Tensor {
    return this.decode(this.quantize.forward(latents).latents);
  }

  forward(images: Tensor): VqReconstruction {
    const quantized = this.encode(images);
    return { reconstruction: this.decode(quantized.latents), ...quantized };
  }
}

export interface VqReconstruction extends Quantized {
  reconstruction: Tensor;
}
