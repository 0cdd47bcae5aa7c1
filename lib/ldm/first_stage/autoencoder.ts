/** What the KL and VQ models have in common: encoder, decoder, the layers around the latent. */
import { check } from '../../errors.js';
import {
  buffer,
  Module,
  pointwise as pointwiseLayout,
  type FileLayout,
  type Linear,
} from '../../nn/index.js';
import { linear } from '../../ops/index.js';
import { randn } from '../../random.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import { pointwise } from './blocks.js';
import { downsamplingOf, type AutoencoderConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder } from './encoder.js';

/** Base of {@link AutoencoderKL} and {@link VQModel}. */
export abstract class Autoencoder<In extends unknown[], Out> extends Module<In, Out> {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quant_conv: Linear;
  readonly post_quant_conv: Linear;
  /** [3, labels]: random colours of labels, never trained; with `colorizeNlabels` */
  readonly colorize: Tensor | null;

  /** @param doubleZ whether the encoder gives two numbers per channel of the latent */
  constructor(
    readonly config: AutoencoderConfig,
    doubleZ: boolean,
  ) {
    super();
    const { ddconfig, embedDim, colorizeNlabels } = config;
    const moments = doubleZ ? 2 : 1;
    this.encoder = new Encoder({ ...ddconfig, doubleZ });
    this.decoder = new Decoder(ddconfig);
    this.quant_conv = pointwise(moments * ddconfig.zChannels, moments * embedDim);
    this.post_quant_conv = pointwise(embedDim, ddconfig.zChannels);
    this.colorize = colorizeNlabels ? buffer(randn([3, colorizeNlabels])) : null;
  }

  get latentChannels(): number {
    return this.config.embedDim;
  }

  get downsampling(): number {
    return downsamplingOf(this.config.ddconfig);
  }

  /**
   * Inputs that are no pictures in colour, for looking at: a fixed random projection, scaled to [-1, 1].
   *
   * @param x [N, H, W, colorizeNlabels]
   * @returns [N, H, W, 3]
   */
  toRgb(x: Tensor): Tensor {
    const { colorize } = this;
    check(colorize, () => 'toRgb: the model was made without colorizeNlabels.');
    return tidy(() => {
      const colours = linear(x, colorize);
      const [low, high] = [colours.min(), colours.max()];
      return colours.sub(low).mul(2).div(high.sub(low)).sub(1);
    });
  }

  override fileLayout(field: string): FileLayout | null {
    return field === 'colorize' ? pointwiseLayout(2) : null;
  }
}
