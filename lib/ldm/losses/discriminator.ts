/** The patch discriminator of pix2pix, which judges overlapping patches of an image (Isola et al., 2017). */
import { check, checkShape } from '../../errors.js';
import {
  BatchNorm2d,
  Conv2d,
  LeakyReLU,
  Module,
  normal_,
  Sequential,
  type Conv2dLayerOptions,
} from '../../nn/index.js';
import type { Generator } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import { ActNorm } from './act_norm.js';

/** Deviation of the weights at the start. */
const initialDeviation = 0.02;

/** So many leave one patch of an image of 3072 pixels a side. */
export const mostLayers = 10;

export interface DiscriminatorOptions {
  /** Channels of the images, and of the condition if there is one. Default 3. */
  inputNc?: number;
  /** Width of the first layer; it doubles with each stage up to eight times that. Default 64. */
  ndf?: number;
  /** Stages that halve the image. More of them judge larger patches. Default 3, patches of 70×70. */
  nLayers?: number;
  /** ActNorm in place of batch norm. Default false. */
  useActnorm?: boolean;
  /** Where the weights come from. Default: the global generator. */
  generator?: Generator;
}

/**
 * [N, H, W, inputNc] to one logit per patch, [N, ⌊H / 2ⁿ⌋ − 2, ⌊W / 2ⁿ⌋ − 2, 1] with n = `nLayers`: above 0 where
 * it takes the patch for real.
 */
export class NLayerDiscriminator extends Module<[Tensor], Tensor> {
  readonly main: Sequential;
  readonly #smallestSide: number;
  readonly #layers: number;

  constructor(options: DiscriminatorOptions = {}) {
    super();
    const { inputNc = 3, ndf = 64, nLayers = 3, useActnorm = false, generator } = options;
    check(Number.isInteger(nLayers) && nLayers >= 1 && nLayers <= mostLayers, () => {
      return `NLayerDiscriminator: nLayers must be an integer from 1 to ${mostLayers}, got ${nLayers}`;
    });
    const conv = (from: number, to: number, rest: Partial<Conv2dLayerOptions>): Conv2d => {
      const layer = new Conv2d(from, to, { kernelSize: 4, padding: 1, generator, ...rest });
      normal_(layer.weight, 0, initialDeviation, generator);
      return layer;
    };
    const norm = (width: number): BatchNorm2d | ActNorm => {
      if (useActnorm) return new ActNorm(width);
      const layer = new BatchNorm2d(width);
      normal_(layer.weight, 1, initialDeviation, generator);
      return layer;
    };

    this.main = new Sequential(conv(inputNc, ndf, { stride: 2 }), new LeakyReLU(0.2));
    let width = ndf;
    for (let n = 1; n <= nLayers; n++) {
      const next = ndf * Math.min(2 ** n, 8);
      // Batch norm subtracts what a bias would add.
      const layer = conv(width, next, { stride: n < nLayers ? 2 : 1, bias: useActnorm });
      this.main.push(layer).push(norm(next)).push(new LeakyReLU(0.2));
      width = next;
    }
    this.main.push(conv(width, 1, { stride: 1 }));
    this.#layers = nLayers;
    this.#smallestSide = 3 * 2 ** nLayers;
  }

  forward(x: Tensor): Tensor {
    const least = this.#smallestSide;
    checkShape(x.rank === 4 && Math.min(x.shape[1], x.shape[2]) >= least, () => {
      return (
        `NLayerDiscriminator: ${this.#layers} layers need images [N, H, W, C] of at least ${least}×${least}, ` +
        `got [${x.shape.join(', ')}]; take fewer layers (discNumLayers)`
      );
    });
    return this.main.forward(x);
  }
}
