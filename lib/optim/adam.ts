import { checkOptions } from '../checks.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import type { Tensor } from '../tensor.js';
import { ids } from './copy.js';
import { Optimizer, type Batch, type Parameters } from './optimizer.js';

const kernels = native<{
  adam_step(
    params: Id[],
    grads: Id[],
    moments1: Id[],
    moments2: Id[],
    masters: Id[],
    gradScale: Id | null,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    decoupled: boolean,
    bias1: number,
    bias2: number,
  ): void;
}>('adam_step');

export interface AdamOptions {
  /** Default 1e-3. */
  lr: number;
  /** Decay of the two moments. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  eps: number;
  /** Default 0 (Adam), 0.01 (AdamW). */
  weightDecay: number;
}

/**
 * Adam (Kingma and Ba, 2015), with PyTorch's formulas: weight decay is added to the gradient. One kernel call
 * updates a whole group.
 */
export class Adam extends Optimizer<AdamOptions> {
  protected readonly decoupled: boolean = false;

  constructor(parameters: Parameters<AdamOptions>, options: Partial<AdamOptions> = {}) {
    checkOptions(new.target.name, options);
    super(parameters, { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, ...options });
    for (const { lr, betas, eps, weightDecay } of this.groups)
      check(
        lr >= 0 &&
          eps >= 0 &&
          weightDecay >= 0 &&
          betas.length === 2 &&
          betas.every((beta) => beta >= 0 && beta < 1),
        () =>
          `${new.target.name}: lr, eps and weightDecay must be >= 0 and betas in [0, 1); got lr ${lr}, eps ${eps}, ` +
          `weightDecay ${weightDecay}, betas [${betas.join(', ')}]`,
      );
  }

  protected override update(
    { group, step, params, grads, masters }: Batch<AdamOptions>,
    gradScale: Tensor | null,
  ): void {
    const { lr, betas, eps, weightDecay } = group;
    kernels.adam_step(
      ids(params),
      ids(grads),
      params.map((param) => this.slot('exp_avg', param).id),
      params.map((param) => this.slot('exp_avg_sq', param).id),
      ids(masters),
      gradScale?.id ?? null,
      lr,
      betas[0],
      betas[1],
      eps,
      weightDecay,
      this.decoupled,
      1 - betas[0] ** step,
      1 - betas[1] ** step,
    );
  }
}

/** Adam with decoupled weight decay (Loshchilov and Hutter, 2019): the weights shrink by lr · weightDecay. */
export class AdamW extends Adam {
  protected override readonly decoupled = true;

  constructor(parameters: Parameters<AdamOptions>, options: Partial<AdamOptions> = {}) {
    checkOptions('AdamW', options);
    super(parameters, { weightDecay: 0.01, ...options });
  }
}
