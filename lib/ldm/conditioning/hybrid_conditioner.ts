/** Two conditionings at once: a map joined to the latent's channels, and tokens to attend to. */
import { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import type { FirstStage } from '../first_stage/index.js';
import { encodePart, type HybridInput } from './condition_input.js';
import type { ConditionEncoder, PartSpec } from './conditioner.js';

/** A conditioner for each part; null where the part is the conditioning itself. */
export class HybridConditioner extends Module<[HybridInput], { concat: Tensor; context: Tensor }> {
  constructor(
    readonly spec: { readonly concat: PartSpec; readonly crossattn: PartSpec },
    readonly concat_conditioner: ConditionEncoder | FirstStage | null,
    readonly crossattn_conditioner: ConditionEncoder | null,
  ) {
    super();
  }

  /** @returns the map [N, h, w, C] and the tokens [N, T, C] that the network takes */
  forward({ concat, crossattn }: HybridInput): { concat: Tensor; context: Tensor } {
    return {
      concat: encodePart(this.spec.concat, this.concat_conditioner, concat),
      context: encodePart(this.spec.crossattn, this.crossattn_conditioner, crossattn),
    };
  }
}
