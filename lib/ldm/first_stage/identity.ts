/** The first stage of diffusion on pixels: latents are the images (paper, section 4.1: LDM-1). */
import { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import type { FirstStage, FirstStageSpec } from './first_stage.js';

export interface IdentityOptions {
  /** whether {@link IdentityFirstStage.quantize} answers as a VQ model's does, default false */
  vqInterface?: boolean;
}

/** A quantiser's answer where nothing is quantised. */
export interface Unquantized {
  latents: Tensor;
  loss: null;
  indices: null;
}

export class IdentityFirstStage extends Module<[Tensor], Tensor> implements FirstStage {
  readonly latentChannels = 3;
  readonly downsampling = 1;
  readonly vqInterface: boolean;

  constructor({ vqInterface = false }: IdentityOptions = {}) {
    super();
    this.vqInterface = vqInterface;
  }

  get spec(): FirstStageSpec {
    return { kind: 'identity', vqInterface: this.vqInterface };
  }

  encode(images: Tensor): Tensor {
    return images;
  }

  decode(latents: Tensor): Tensor {
    return latents;
  }

  /** The input itself; with `vqInterface` in a quantiser's form, without loss and indices. */
  quantize(latents: Tensor): Tensor | Unquantized {
    return this.vqInterface ? { latents, loss: null, indices: null } : latents;
  }

  encodeToLatents(images: Tensor): Tensor {
    return images;
  }

  decodeLatents(latents: Tensor): Tensor {
    return latents;
  }

  forward(images: Tensor): Tensor {
    return images;
  }
}
