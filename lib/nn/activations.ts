// Activations as modules, for sequences of layers; elsewhere call the functions.
import { gelu, leakyRelu, relu, silu, tanh } from '../ops/index.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Returns its argument. */
export class Identity extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return x;
  }
}

/** x·σ(x) */
export class SiLU extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return silu(x);
  }
}

/** x·Φ(x), in the exact (erf) form. */
export class GELU extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

/** max(x, 0) */
export class ReLU extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return relu(x);
  }
}

/** x where it is positive, slope·x elsewhere. */
export class LeakyReLU extends Module<[Tensor], Tensor> {
  constructor(readonly slope = 0.01) {
    super();
  }

  forward(x: Tensor): Tensor {
    return leakyRelu(x, this.slope);
  }

  override facts(): string {
    return String(this.slope);
  }
}

export class Tanh extends Module<[Tensor], Tensor> {
  forward(x: Tensor): Tensor {
    return tanh(x);
  }
}
