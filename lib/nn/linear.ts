import { checkOptions } from '../checks.js';
import { check } from '../errors.js';
import { linear, type LinearOptions } from '../ops/index.js';
import { empty, type Tensor } from '../tensor.js';
import { parameter } from './fields.js';
import { pointwise, type FileLayout } from './file_layout.js';
import { kaimingUniform_, uniform_, type InitOptions } from './init.js';
import { Module } from './module.js';

export interface LinearLayerOptions extends InitOptions {
  /** Whether to add a bias. Default true. */
  bias?: boolean;
  /**
   * The layer that checkpoints hold in its place. A 1×1 convolution over channels-last tensors is a
   * linear layer; its files have weights of shape [out, in, 1] (`conv1d`) or [out, in, 1, 1] (`conv2d`).
   * Default `linear`.
   */
  storedAs?: 'linear' | 'conv1d' | 'conv2d';
}

const layouts = { linear: null, conv1d: pointwise(1), conv2d: pointwise(2) };

/**
 * y = x Wᵀ + b over the last axis: [..., in] → [..., out].
 *
 * Weight [out, in] and bias [out] start uniform in ±1/√in.
 */
export class Linear extends Module<[x: Tensor, fusion?: LinearOptions], Tensor> {
  readonly weight: Tensor; // [out, in]
  readonly bias: Tensor | null; // [out]
  readonly #layout: FileLayout | null;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: LinearLayerOptions = {},
  ) {
    super();
    checkOptions('Linear', options);
    const { bias = true, storedAs = 'linear', generator } = options;
    check(inFeatures >= 1 && outFeatures >= 1, () => {
      return `Linear: features must be at least 1, got ${inFeatures} → ${outFeatures}`;
    });
    const bound = 1 / Math.sqrt(inFeatures);
    const weight = empty([outFeatures, inFeatures], options);
    this.weight = parameter(kaimingUniform_(weight, inFeatures, generator));
    this.bias = bias
      ? parameter(uniform_(empty([outFeatures], options), -bound, bound, generator))
      : null;
    this.#layout = layouts[storedAs];
  }

  /** @param fusion what follows the layer, done in the same pass; see `linear` */
  forward(x: Tensor, fusion: LinearOptions = {}): Tensor {
    return linear(x, this.weight, this.bias, fusion);
  }

  override facts(): string {
    return `${this.inFeatures} → ${this.outFeatures}`;
  }

  override fileLayout(field: string): FileLayout | null {
    return field === 'weight' ? this.#layout : null;
  }
}
