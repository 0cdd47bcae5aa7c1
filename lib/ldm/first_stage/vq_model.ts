/** VQModel: perceptual compression with a learned codebook (paper, section 3.1). */
import type { Linear } from '../../nn/index.js';
import { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { pointwise } from './blocks.js';
import { downsamplingOf, type VqConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder } from './encoder.js';
import type { FirstStage, FirstStageSpec } from './first_stage.js';
import { VectorQuantizer, type Quantized } from './vector_quantizer.js';

/**
 * The layers of both VQ models. Images [N, H, W, 3] in [-1, 1] to latents [N, H/f, W/f, embedDim] and back. A
 * diffusion model works on the latents before quantisation, and quantising is the decoder's first layer.
 */
abstract class VQAutoencoder<Out> extends Module<[Tensor], Out> implements FirstStage {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quantize: VectorQuantizer;
  readonly quant_conv: Linear;
  readonly post_quant_conv: Linear;

  constructor(readonly config: VqConfig) {
    super();
    const { ddconfig, embedDim, nEmbed, ...options } = config;
    this.encoder = new Encoder({ ...ddconfig, doubleZ: ddconfig.doubleZ ?? false });
    this.decoder = new Decoder(ddconfig);
    this.quantize = new VectorQuantizer(nEmbed, embedDim, options);
    this.quant_conv = pointwise(ddconfig.zChannels, embedDim);
    this.post_quant_conv = pointwise(embedDim, ddconfig.zChannels);
  }

  abstract get spec(): FirstStageSpec;

  get latentChannels(): number {
    return this.config.embedDim;
  }

  get downsampling(): number {
    return downsamplingOf(this.config.ddconfig);
  }

  /** Latents before quantisation. */
  encodeToPrequant(images: Tensor): Tensor {
    return this.quant_conv.forward(this.encoder.forward(images));
  }

  /** Latents before quantisation: what a diffusion model is trained on. */
  encodeToLatents(images: Tensor): Tensor {
    return this.encodeToPrequant(images);
  }

  /** Quantises, then decodes. */
  decodeLatents(latents: Tensor): Tensor {
    return this.decodeQuantized(this.quantize.forward(latents).latents);
  }

  protected decodeQuantized(latents: Tensor): Tensor {
    return this.decoder.forward(this.post_quant_conv.forward(latents));
  }
}

/** The model as it is trained: encoding quantises. */
export class VQModel extends VQAutoencoder<VqReconstruction> {
  get spec(): FirstStageSpec {
    return { kind: 'vq', ...this.config };
  }

  encode(images: Tensor): Quantized {
    return this.quantize.forward(this.encodeToPrequant(images));
  }

  /** Decodes quantised latents. */
  decode(latents: Tensor): Tensor {
    return this.decodeQuantized(latents);
  }

  forward(images: Tensor): VqReconstruction {
    const quantized = this.encode(images);
    return { reconstruction: this.decode(quantized.latents), ...quantized };
  }
}

/** The model as diffusion uses it: decoding quantises. Has the weights of a {@link VQModel}. */
export class VQModelInterface extends VQAutoencoder<Tensor> {
  get spec(): FirstStageSpec {
    return { kind: 'vq-interface', ...this.config };
  }

  /** Latents before quantisation. */
  encode(images: Tensor): Tensor {
    return this.encodeToPrequant(images);
  }

  /** @param options.forceNotQuantize decode the latents as they are, default false */
  decode(latents: Tensor, { forceNotQuantize = false } = {}): Tensor {
    return forceNotQuantize ? this.decodeQuantized(latents) : this.decodeLatents(latents);
  }

  /** The reconstruction of images. */
  forward(images: Tensor): Tensor {
    return this.decode(this.encode(images));
  }
}

export interface VqReconstruction extends Quantized {
  reconstruction: Tensor;
}
