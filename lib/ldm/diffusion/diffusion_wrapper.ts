/** The denoising network behind its ways of being conditioned (paper, section 3.3). */
import { check, checkShape } from '../../errors.js';
import { Module } from '../../nn/index.js';
import { concat } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import { UNetModel, type Context, type UNetConfig } from '../unet/index.js';

/**
 * How the network takes what it is conditioned on: maps joined to the latent's channels (`concat`), tokens
 * that it attends to (`crossattn`), both (`hybrid`), or classes added to the time embedding (`adm`).
 */
export type ConditioningKey = 'concat' | 'crossattn' | 'hybrid' | 'adm';

/** Encoded conditioning, as the network takes it. */
export interface NetworkConditioning {
  /** [N, h, w, C], for 'concat' and 'hybrid' */
  concat?: Tensor;
  /** tokens [N, S, contextDim], for 'crossattn' and 'hybrid' */
  context?: Context;
  /** class ids [N], for 'adm' */
  y?: Tensor;
}

const taken = {
  none: [],
  concat: ['concat'],
  crossattn: ['context'],
  hybrid: ['concat', 'context'],
  adm: ['y'],
} as const satisfies Record<ConditioningKey | 'none', readonly (keyof NetworkConditioning)[]>;

/** U(x, t, conditioning): `model` of the published checkpoints. */
export class DiffusionWrapper extends Module<[Tensor, Tensor, NetworkConditioning?], Tensor> {
  readonly diffusion_model: UNetModel;

  constructor(
    unet: UNetConfig,
    readonly conditioningKey: ConditioningKey | null,
  ) {
    super();
    this.diffusion_model = new UNetModel(unet);
  }

  /**
   * @param x noisy latents [N, h, w, C]
   * @param t timesteps [N]
   * @throws ArgumentError when the conditioning is not of the network's kind
   */
  forward(x: Tensor, t: Tensor, conditioning: NetworkConditioning = {}): Tensor {
    this.#check(conditioning);
    const { concat: map, context, y } = conditioning;
    return this.diffusion_model.forward(map ? join(x, map) : x, t, { context, y });
  }

  #check(conditioning: NetworkConditioning): void {
    const key = this.conditioningKey ?? 'none';
    const wanted: readonly string[] = taken[key];
    const given = Object.entries(conditioning)
      .filter(([, value]) => value !== undefined)
      .map(([name]) => name);
    check(given.length === wanted.length && given.every((name) => wanted.includes(name)), () => {
      const list = (names: readonly string[]) => names.join(' and ') || 'nothing';
      return `DiffusionWrapper: with the conditioning key ${key} the network takes ${list(wanted)}. Got ${list(given)}.`;
    });
  }
}

function join(x: Tensor, map: Tensor): Tensor {
  checkShape(map.rank === 4 && [0, 1, 2].every((axis) => map.shape[axis] === x.shape[axis]), () => {
    return (
      `DiffusionWrapper: a map joined to latents of [${x.shape.join(', ')}] must have their extents but for ` +
      `channels. Got [${map.shape.join(', ')}].`
    );
  });
  return concat([x, map], 3);
}
