// Changes of picture size without weights: [N, H, W, C] → [N, H', W', C].
import { avgPool2d, maxPool2d, upsampleNearest2x } from '../ops/index.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Doubles height and width by repeating pixels. */
export class UpsampleNearest2x extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return upsampleNearest2x(x);
  }
}

/** Averages blocks of 2×2 pixels; an odd last row or column is dropped. */
export class AvgPool2d extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return avgPool2d(x);
  }
}

/** Keeps the maximum of blocks of 2×2 pixels; an odd last row or column is dropped. */
export class MaxPool2d extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return maxPool2d(x);
  }
}
