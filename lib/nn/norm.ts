// Normalisations. Weights start at 1 and biases at 0, so that a new layer only normalises.
import { checkOptions } from '../checks.js';
import { full, ones, zeros } from '../creation.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { batchNorm, groupNorm, layerNorm } from '../ops/index.js';
import { noteWritten, type Tensor, type TensorOptions } from '../tensor.js';
import { buffer, parameter } from './fields.js';
import { Module } from './module.js';

const kernels = native<{ accumulate(into: Id, add: Id): void }>('accumulate');

export interface GroupNormLayerOptions extends TensorOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Applied in the same pass. Default: none. */
  activation?: 'silu';
}

/**
 * Normalises each of `groups` groups of channels over a picture (Wu and He, 2018): [N, ..., C].
 */
export class GroupNorm extends Module<[Tensor], Tensor> {
  readonly weight: Tensor; // [C]
  readonly bias: Tensor; // [C]
  readonly eps: number;
  readonly activation: 'silu' | undefined;

  constructor(
    readonly groups: number,
    readonly channels: number,
    options: GroupNormLayerOptions = {},
  ) {
    super();
    checkOptions('GroupNorm', options);
    check(groups >= 1 && channels % groups === 0, () => {
      return `GroupNorm: channels (${channels}) must be divisible by groups (${groups})`;
    });
    this.weight = parameter(ones([channels], options));
    this.bias = parameter(zeros([channels], options));
    this.eps = options.eps ?? 1e-5;
    this.activation = options.activation;
  }

  forward(x: Tensor): Tensor {
    const { eps, activation } = this;
    return groupNorm(x, this.groups, this.weight, this.bias, { eps, activation });
  }

  override facts(): string {
    const activation = this.activation ? `, ${this.activation}` : '';
    return `${this.groups} groups of ${this.channels} channels, eps ${this.eps}${activation}`;
  }
}

/** Normalises the last axis (Ba et al., 2016). */
export class LayerNorm extends Module<[Tensor], Tensor> {
  readonly weight: Tensor; // [features]
  readonly bias: Tensor; // [features]
  readonly eps: number;

  constructor(
    readonly features: number,
    options: TensorOptions & { eps?: number } = {},
  ) {
    super();
    checkOptions('LayerNorm', options);
    this.weight = parameter(ones([features], options));
    this.bias = parameter(zeros([features], options));
    this.eps = options.eps ?? 1e-5;
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }

  override facts(): string {
    return `${this.features}, eps ${this.eps}`;
  }
}

export interface BatchNorm2dLayerOptions extends TensorOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Share of the newest batch in the running statistics. Default 0.1. */
  momentum?: number;
}

/**
 * Normalises each channel over batch and picture (Ioffe and Szegedy, 2015): [N, H, W, C]. In training
 * by the batch's own statistics, which also move the running ones; after `eval()` by the latter.
 */
export class BatchNorm2d extends Module<[Tensor], Tensor> {
  readonly weight: Tensor; // [C]
  readonly bias: Tensor; // [C]
  readonly running_mean: Tensor; // [C]
  readonly running_var: Tensor; // [C]
  readonly num_batches_tracked: Tensor; // [], int64
  readonly eps: number;
  readonly momentum: number;

  constructor(
    readonly channels: number,
    options: BatchNorm2dLayerOptions = {},
  ) {
    super();
    checkOptions('BatchNorm2d', options);
    this.weight = parameter(ones([channels], options));
    this.bias = parameter(zeros([channels], options));
    this.running_mean = buffer(zeros([channels], options));
    this.running_var = buffer(ones([channels], options));
    this.num_batches_tracked = buffer(zeros([], { ...options, dtype: 'int64' }));
    this.eps = options.eps ?? 1e-5;
    this.momentum = options.momentum ?? 0.1;
  }

  forward(x: Tensor): Tensor {
    if (this.training) this.#countBatch();
    const { weight, bias, running_mean, running_var, training, momentum, eps } = this;
    return batchNorm(x, weight, bias, running_mean, running_var, { training, momentum, eps });
  }

  #countBatch(): void {
    const one = full([], 1, this.num_batches_tracked);
    kernels.accumulate(this.num_batches_tracked.id, one.id);
    noteWritten([this.num_batches_tracked]);
    one.dispose();
  }

  override facts(): string {
    return `${this.channels}, eps ${this.eps}, momentum ${this.momentum}`;
  }
}
