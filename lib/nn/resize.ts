// Changes of picture size without weights: [N, H, W, C] → [N, H', W', C].
import { avgPool2d, maxPool2d, upsampleNearest2x, type Pool2dOptions } from '../ops/index.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Doubles height and width by repeating pixels. */
export class UpsampleNearest2x extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return upsampleNearest2x(x);
  }
}

abstract class Pool2d extends Module<[Tensor], Tensor> {
  /** @param options by default windows of 2×2 side by side, which halve height and width */
  constructor(readonly options: Pool2dOptions = { kernel: 2 }) {
    super();
  }

  override facts(): string {
    const facts = Object.entries(this.options) as [string, unknown][];
    return facts.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ');
  }
}

/** Averages windows of pixels. */
export class AvgPool2d extends Pool2d {
  forward(x: Tensor): Tensor {
    return avgPool2d(x, this.options);
  }
}

/** Keeps the maximum of windows of pixels. */
export class MaxPool2d extends Pool2d {
  forward(x: Tensor): Tensor {
    return maxPool2d(x, this.options);
  }
}
