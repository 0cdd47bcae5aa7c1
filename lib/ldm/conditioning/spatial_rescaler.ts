/** Maps brought to the latent's size and few channels (paper, section 4.3.2: semantic synthesis). */
import { Linear, Module } from '../../nn/index.js';
import { resize } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import { checkOptions, flag, integer, number, oneOf, type Rules } from '../rules.js';

export interface SpatialRescalerConfig {
  /** how often the map is resized, default 1 */
  nStages?: number;
  /** default 'bilinear' */
  method?: 'nearest' | 'bilinear' | 'bicubic' | 'area';
  /** factor of the sides in each stage, default 0.5 */
  multiplier?: number;
  /** default 3 */
  inChannels?: number;
  /** channels of the result, by a linear map; default: as many as come in, without a map */
  outChannels?: number;
  /** whether the linear map has a bias, default false */
  bias?: boolean;
}

const rules: Rules<Required<SpatialRescalerConfig>> = {
  nStages: integer(0, 16),
  method: oneOf('nearest', 'bilinear', 'bicubic', 'area'),
  multiplier: number(1e-3, 1e3),
  inChannels: integer(1, 65_536),
  outChannels: integer(1, 65_536),
  bias: flag,
};

/** @throws ArgumentError for options that are unknown or out of range */
export function checkSpatialRescalerConfig(
  config: unknown,
): asserts config is SpatialRescalerConfig {
  checkOptions<SpatialRescalerConfig>('SpatialRescaler', config, rules, []);
}

/** [N, H, W, inChannels] → [N, H·multiplier^nStages, W·multiplier^nStages, outChannels], rounded down. */
export class SpatialRescaler extends Module<[Tensor], Tensor> {
  readonly channel_mapper: Linear | null;

  constructor(readonly config: SpatialRescalerConfig = {}) {
    super();
    checkSpatialRescalerConfig(config);
    const { inChannels = 3, outChannels, bias = false } = config;
    this.channel_mapper =
      outChannels === undefined
        ? null
        : new Linear(inChannels, outChannels, { bias, storedAs: 'conv2d' });
  }

  forward(x: Tensor): Tensor {
    const { nStages = 1, method: mode = 'bilinear', multiplier: scaleFactor = 0.5 } = this.config;
    let h = x;
    for (let stage = 0; stage < nStages; stage++) h = resize(h, { scaleFactor, mode });
    return this.channel_mapper ? this.channel_mapper.forward(h) : h;
  }
}
