import { checkOptions } from '../checks.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import type { Tensor } from '../tensor.js';
import { ids } from './copy.js';
import { Optimizer, type Batch, type Parameters } from './optimizer.js';

const kernels = native<{
  sgd_step(
    params: Id[],
    grads: Id[],
    buffers: Id[],
    masters: Id[],
    gradScale: Id | null,
    lr: number,
    momentum: number,
    weightDecay: number,
    nesterov: boolean,
  ): void;
}>('sgd_step');

export interface SGDOptions {
  lr: number;
  /** Default 0. */
  momentum: number;
  /** Added to the gradient as weightDecay · p. Default 0. */
  weightDecay: number;
  /** Looks one step of momentum ahead. Default false. */
  nesterov: boolean;
}

/** Stochastic gradient descent with momentum, as PyTorch's. */
export class SGD extends Optimizer<SGDOptions> {
  constructor(parameters: Parameters<SGDOptions>, options: Partial<SGDOptions> & { lr: number }) {
    checkOptions('SGD', options);
    super(parameters, { momentum: 0, weightDecay: 0, nesterov: false, ...options });
    for (const { lr, momentum, weightDecay, nesterov } of this.groups) {
      check(
        lr >= 0 && momentum >= 0 && weightDecay >= 0,
        () =>
          `SGD: lr, momentum and weightDecay must be >= 0; got ${lr}, ${momentum}, ${weightDecay}`,
      );
      check(!nesterov || momentum > 0, () => 'SGD: nesterov needs a momentum above 0');
    }
  }

  protected override update(
    { group, params, grads, masters }: Batch<SGDOptions>,
    gradScale: Tensor | null,
  ): void {
    const { lr, momentum, weightDecay, nesterov } = group;
    const buffers =
      momentum === 0 ? [] : params.map((param) => this.slot('momentum_buffer', param).id);
    kernels.sgd_step(
      ids(params),
      ids(grads),
      buffers,
      ids(masters),
      gradScale?.id ?? null,
      lr,
      momentum,
      weightDecay,
      nesterov,
    );
  }
}
