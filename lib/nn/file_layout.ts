// How weights lie in files. Files keep PyTorch's layout, memory has channels last: these are the only
// places where the two meet.
import { permute, reshape } from '../ops/index.js';
import type { Tensor } from '../tensor.js';

/** Converts one tensor of a layer between memory and file. */
export interface FileLayout {
  /** The shape in the file of a tensor with this shape in memory. */
  shape(memory: readonly number[]): readonly number[];
  /** Both return a new tensor and leave the argument alone. */
  toFile(tensor: Tensor): Tensor;
  fromFile(tensor: Tensor): Tensor;
}

/** Convolution weights: OHWI in memory, OIHW in files. */
export const oihw: FileLayout = {
  shape: ([o, h, w, i]) => [o, i, h, w],
  toFile: (weight) => permute(weight, [0, 3, 1, 2]), // [O, H, W, I] → [O, I, H, W]
  fromFile: (weight) => permute(weight, [0, 2, 3, 1]), // [O, I, H, W] → [O, H, W, I]
};

/** Matrices [K, C] that files hold as 1×1 convolutions: [K, C, 1], or [K, C, 1, 1] for two dimensions. */
export function pointwise(dimensions: 1 | 2): FileLayout {
  const ones = Array<number>(dimensions).fill(1);
  return {
    shape: (memory) => [...memory, ...ones],
    toFile: (weight) => reshape(weight, [...weight.shape, ...ones]),
    fromFile: (weight) => reshape(weight, weight.shape.slice(0, 2)),
  };
}

/** One value per channel, [C], that files hold as [1, C, 1, 1]. */
export const channelVector: FileLayout = {
  shape: ([c]) => [1, c, 1, 1],
  toFile: (vector) => reshape(vector, [1, vector.numel, 1, 1]),
  fromFile: (vector) => reshape(vector, [vector.numel]),
};
