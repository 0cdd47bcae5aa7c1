/** The U-Net's residual block, conditioned on time (paper, appendix E.2; Dhariwal & Nichol, appendix A). */
import { avgPool2d, groupNorm, silu, upsampleNearest2x } from '../../ops/index.js';
import { Conv2d, Dropout, GroupNorm, Linear, Module, pipe, zeroModule } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';

export interface ResBlockOptions {
  dropout?: number;
  /** default: as many as come in */
  outChannels?: number;
  /** 3x3 instead of 1x1 convolution where the width changes */
  useConv?: boolean;
  /** the embedding scales and shifts the second norm instead of being added before it */
  useScaleShiftNorm?: boolean;
  /** double or halve the map inside the block */
  resample?: 'up' | 'down' | 'none';
  /** default 32 */
  normGroups?: number;
}

const resamplers = {
  up: upsampleNearest2x,
  down: (x: Tensor) => avgPool2d(x, { kernel: 2 }),
  none: (x: Tensor) => x,
};

export class ResBlock extends Module<[Tensor, Tensor], Tensor> {
  // activations and dropout have places of their own in the original's numbering
  readonly in_layers: { 0: GroupNorm; 2: Conv2d };
  readonly emb_layers: { 1: Linear };
  readonly out_layers: { 0: GroupNorm; 2: Dropout; 3: Conv2d };
  readonly skip_connection: Conv2d | null;
  readonly #scaleShift: boolean;
  readonly #resample: (x: Tensor) => Tensor;

  constructor(channels: number, embChannels: number, options: ResBlockOptions = {}) {
    super();
    const { dropout = 0, outChannels = channels, useScaleShiftNorm = false } = options;
    const { normGroups = 32 } = options;
    const conv3x3 = { kernelSize: 3, padding: 1 };
    this.in_layers = {
      0: new GroupNorm(normGroups, channels, { activation: 'silu' }),
      2: new Conv2d(channels, outChannels, conv3x3),
    };
    this.emb_layers = {
      1: new Linear(embChannels, useScaleShiftNorm ? 2 * outChannels : outChannels),
    };
    this.out_layers = {
      0: new GroupNorm(normGroups, outChannels, { activation: 'silu' }),
      2: new Dropout(dropout),
      // each block starts as its skip connection
      3: zeroModule(new Conv2d(outChannels, outChannels, conv3x3)),
    };
    const shortcut = options.useConv ? conv3x3 : { kernelSize: 1 };
    this.skip_connection =
      outChannels === channels ? null : new Conv2d(channels, outChannels, shortcut);
    this.#scaleShift = useScaleShiftNorm;
    this.#resample = resamplers[options.resample ?? 'none'];
  }

  /**
   * @param x [N, H, W, C]
   * @param emb time embedding [N, embChannels]
   */
  forward(x: Tensor, emb: Tensor): Tensor {
    const [inNorm, inConv] = [this.in_layers[0], this.in_layers[2]];
    const [outNorm, dropout, outConv] = [
      this.out_layers[0],
      this.out_layers[2],
      this.out_layers[3],
    ];
    // Made when it is wanted: until then it would only take room.
    const residual = (): Tensor => {
      const shortcut = this.#resample(x);
      return this.skip_connection ? this.skip_connection.forward(shortcut) : shortcut;
    };
    const e = this.emb_layers[1].forward(silu(emb)); // [N, C] or, scale before shift, [N, 2C]
    const modulated = (h: Tensor): Tensor => {
      const [scale, shift] = e.chunk(2, 1);
      // norm·(1 + scale) + shift, then the activation, in one pass
      const { groups, weight, bias, eps } = outNorm;
      return groupNorm(h, groups, weight, bias, { eps, activation: 'silu', scale, shift });
    };
    return pipe(x, [
      (h) => inNorm.forward(h),
      this.#resample,
      (h) => inConv.forward(h, this.#scaleShift ? {} : { channelAdd: e }),
      this.#scaleShift ? modulated : (h) => outNorm.forward(h),
      (h) => dropout.forward(h),
      (h) => outConv.forward(h, { residual: residual() }),
    ]);
  }
}
