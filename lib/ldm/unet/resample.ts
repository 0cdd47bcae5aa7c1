/** Up- and downsampling layers of the U-Net. */
import { avgPool2d, upsampleNearest2x } from '../../ops/index.js';
import { Conv2d, Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';

/** Doubles the map: every pixel becomes four, then a 3x3 convolution if learned. */
export class Upsample extends Module<[Tensor], Tensor> {
  readonly conv: Conv2d | null;

  constructor(channels: number, learned = true, outChannels = channels) {
    super();
    this.conv = learned ? new Conv2d(channels, outChannels, { kernelSize: 3, padding: 1 }) : null;
  }

  forward(x: Tensor): Tensor {
    const doubled = upsampleNearest2x(x); // [N, 2H, 2W, C]
    return this.conv ? this.conv.forward(doubled) : doubled;
  }
}

/** Halves the map with a strided 3x3 convolution padded on all sides, or by averaging. */
export class Downsample extends Module<[Tensor], Tensor> {
  readonly op: Conv2d | null;

  constructor(channels: number, learned = true, outChannels = channels) {
    super();
    this.op = learned
      ? new Conv2d(channels, outChannels, { kernelSize: 3, stride: 2, padding: 1 })
      : null;
  }

  forward(x: Tensor): Tensor {
    return this.op ? this.op.forward(x) : avgPool2d(x, { kernel: 2 });
  }
}
