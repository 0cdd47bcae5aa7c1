// How weights begin. The same seed gives the same weights: each tensor takes the generator's next step.
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { defaultGenerator, type Generator } from '../random.js';
import { noteWritten, type Tensor, type TensorOptions } from '../tensor.js';
import type { Module } from './module.js';

const kernels = native<{ fill(value: number, y: Id): void }>('fill');

/** What every layer with weights takes. */
export interface InitOptions extends TensorOptions {
  /** Where random weights come from. Default: the global generator, see `manualSeed`. */
  generator?: Generator;
}

// Every function here overwrites its tensor in place, outside of any recording, and returns it.
function overwrite(tensor: Tensor, write: (tensor: Tensor) => void): Tensor {
  write(tensor);
  noteWritten([tensor]);
  return tensor;
}

/** Overwrites with one value. */
export function constant_(tensor: Tensor, value: number): Tensor {
  return overwrite(tensor, ({ id }) => kernels.fill(value, id));
}

export const zeros_ = (tensor: Tensor): Tensor => constant_(tensor, 0);

export const ones_ = (tensor: Tensor): Tensor => constant_(tensor, 1);

/** Overwrites with values uniform in [low, high). */
export function uniform_(
  tensor: Tensor,
  low: number,
  high: number,
  generator: Generator = defaultGenerator,
): Tensor {
  return overwrite(tensor, (y) => generator.uniform_(y, low, high));
}

/** Overwrites with normals. */
export function normal_(
  tensor: Tensor,
  mean = 0,
  std = 1,
  generator: Generator = defaultGenerator,
): Tensor {
  return overwrite(tensor, (y) => generator.normal_(y, mean, std));
}

/**
 * Overwrites with uniform values whose variance keeps that of activations (He et al., 2015).
 *
 * @param fanIn number of inputs that each output sums over
 * @param a negative slope of the leaky ReLU that follows. Default √5, which makes the bound
 * 1/√fanIn: the start of every linear layer and convolution here
 */
export function kaimingUniform_(
  tensor: Tensor,
  fanIn: number,
  generator: Generator = defaultGenerator,
  a = Math.sqrt(5),
): Tensor {
  check(fanIn > 0, () => `kaimingUniform_: fanIn must be positive, got ${fanIn}`);
  const gain = Math.sqrt(2 / (1 + a * a));
  const bound = gain * Math.sqrt(3 / fanIn);
  return uniform_(tensor, -bound, bound, generator);
}

/** Sets all parameters of a module to zero: the last layer of a residual branch. Returns the module. */
export function zeroModule<M extends Module>(module: M): M {
  for (const tensor of module.parameters()) zeros_(tensor);
  return module;
}
