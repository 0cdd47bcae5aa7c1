/** VQModel: perceptual compression with a learned codebook (paper, section 3.1). */
import type { Tensor } from '../../tensor.js';
import { Autoencoder } from './autoencoder.js';
import type { CodebookStep } from './codebook.js';
import { checkVqConfig, type VqConfig } from './config.js';
import type { FirstStage, FirstStageSpec } from './first_stage.js';
import { VectorQuantizer, type Quantized } from './vector_quantizer.js';

/**
 * The layers of both VQ models. Images [N, H, W, 3] in [-1, 1] to latents [N, H/f, W/f, embedDim] and back. A
 * diffusion model works on the latents before quantisation, and quantising is the decoder's first layer.
 */
abstract class VQAutoencoder<In extends unknown[], Out>
  extends Autoencoder<In, Out>
  implements FirstStage
{
  readonly quantize: VectorQuantizer;
  declare readonly config: VqConfig;

  constructor(config: VqConfig) {
    checkVqConfig(config);
    super(config, false);
    const { ddconfig: _, colorizeNlabels: __, embedDim, nEmbed, ...options } = config;
    this.quantize = new VectorQuantizer(nEmbed, embedDim, options);
  }

  abstract get spec(): FirstStageSpec;

  /** Latents before quantisation. */
  encodeToPrequant(images: Tensor): Tensor {
    return this.quant_conv.forward(this.encoder.forward(images));
  }

  encodeToLatents(images: Tensor): Tensor {
    return this.encodeToPrequant(images);
  }

  /** Quantises, then decodes. */
  decodeLatents(latents: Tensor): Tensor {
    return this.decodeQuantized(this.quantize.toCodes(latents));
  }

  /**
   * Decodes code indices.
   *
   * @param indices as `quantize` gives them, of any shape with N·h·w elements
   * @param shape of the latents, [N, h, w]
   */
  decodeCode(indices: Tensor, [N, h, w]: readonly [number, number, number]): Tensor {
    const shape = [N, h, w, this.config.embedDim];
    return this.decodeQuantized(this.quantize.getCodebookEntry(indices, shape));
  }

  protected decodeQuantized(latents: Tensor): Tensor {
    return this.decoder.forward(this.post_quant_conv.forward(latents));
  }
}

/** The model as it is trained: encoding quantises. */
export class VQModel extends VQAutoencoder<[Tensor, CodebookStep?], VqReconstruction> {
  get spec(): FirstStageSpec {
    return { kind: 'vq', ...this.config };
  }

  /** @param step in training, what a codebook with moving averages or restarts needs to know */
  encode(images: Tensor, step?: CodebookStep): Quantized {
    return this.quantize.forward(this.encodeToPrequant(images), step);
  }

  /** Decodes quantised latents. */
  decode(latents: Tensor): Tensor {
    return this.decodeQuantized(latents);
  }

  /** @param step as {@link encode} */
  forward(images: Tensor, step?: CodebookStep): VqReconstruction {
    const quantized = this.encode(images, step);
    return { reconstruction: this.decode(quantized.latents), ...quantized };
  }
}

/** The model as diffusion uses it: decoding quantises. Has the weights of a {@link VQModel}. */
export class VQModelInterface extends VQAutoencoder<[Tensor], Tensor> {
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
