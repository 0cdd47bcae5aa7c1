/** The pieces that encoder and decoder are made of. All maps are [N, H, W, C]. */
import { avgPool2d, silu, upsampleNearest2x } from '../../ops/index.js';
import { Conv2d, Dropout, GroupNorm, Linear, Module, pipe } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';

/** eps 1e-6: every norm of the first stage. */
export function normalize(channels: number, groups = 32, activation?: 'silu'): GroupNorm {
  return new GroupNorm(groups, channels, { eps: 1e-6, activation });
}

/** A 1x1 convolution, which on channels-last maps is a linear layer. */
export function pointwise(from: number, to: number, bias = true): Linear {
  return new Linear(from, to, { bias, storedAs: 'conv2d' });
}

export class Upsample extends Module<[Tensor], Tensor> {
  readonly conv: Conv2d | null;

  constructor(channels: number, withConv = true) {
    super();
    this.conv = withConv ? new Conv2d(channels, channels, { kernelSize: 3, padding: 1 }) : null;
  }

  forward(x: Tensor): Tensor {
    const { conv } = this;
    return pipe(x, [
      upsampleNearest2x, // [N, 2H, 2W, C]
      (doubled) => (conv ? conv.forward(doubled) : doubled),
    ]);
  }
}

/** Halves the map. The convolution pads one row below and one column to the right only. */
export class Downsample extends Module<[Tensor], Tensor> {
  readonly conv: Conv2d | null;

  constructor(channels: number, withConv = true) {
    super();
    const padding = { top: 0, bottom: 1, left: 0, right: 1 };
    this.conv = withConv
      ? new Conv2d(channels, channels, { kernelSize: 3, stride: 2, padding })
      : null;
  }

  forward(x: Tensor): Tensor {
    return this.conv ? this.conv.forward(x) : avgPool2d(x, { kernel: 2 });
  }
}

export interface ResnetBlockOptions {
  /** default: as many as come in */
  outChannels?: number;
  dropout?: number;
  /** width of a time embedding; 0, as in every first stage, for none */
  tembChannels?: number;
  /** 3x3 instead of 1x1 convolution where the width changes */
  convShortcut?: boolean;
  /** default 32 */
  normGroups?: number;
}

/** norm, swish, conv; twice; and a shortcut. */
export class ResnetBlock extends Module<[Tensor, Tensor?], Tensor> {
  readonly norm1: GroupNorm;
  readonly conv1: Conv2d;
  readonly temb_proj: Linear | null;
  readonly norm2: GroupNorm;
  readonly dropout: Dropout;
  readonly conv2: Conv2d;
  readonly conv_shortcut: Conv2d | null;
  readonly nin_shortcut: Linear | null;

  constructor(inChannels: number, options: ResnetBlockOptions = {}) {
    super();
    const { outChannels = inChannels, dropout = 0, tembChannels = 0 } = options;
    const { convShortcut = false, normGroups } = options;
    this.norm1 = normalize(inChannels, normGroups, 'silu');
    this.conv1 = new Conv2d(inChannels, outChannels, { kernelSize: 3, padding: 1 });
    this.temb_proj = tembChannels > 0 ? new Linear(tembChannels, outChannels) : null;
    this.norm2 = normalize(outChannels, normGroups, 'silu');
    this.dropout = new Dropout(dropout);
    this.conv2 = new Conv2d(outChannels, outChannels, { kernelSize: 3, padding: 1 });
    const widens = inChannels !== outChannels;
    this.conv_shortcut =
      widens && convShortcut
        ? new Conv2d(inChannels, outChannels, { kernelSize: 3, padding: 1 })
        : null;
    this.nin_shortcut = widens && !convShortcut ? pointwise(inChannels, outChannels) : null;
  }

  forward(x: Tensor, temb?: Tensor): Tensor {
    const channelAdd = this.temb_proj && temb ? this.temb_proj.forward(silu(temb)) : null; // [N, C]
    const shortcut = this.conv_shortcut ?? this.nin_shortcut;
    // Made when it is wanted: until then it would only take room.
    const residual = (): Tensor => (shortcut ? shortcut.forward(x) : x);
    return pipe(x, [
      (h) => this.norm1.forward(h),
      (h) => this.conv1.forward(h, { channelAdd }),
      (h) => this.norm2.forward(h),
      (h) => this.dropout.forward(h),
      (h) => this.conv2.forward(h, { residual: residual() }),
    ]);
  }
}
