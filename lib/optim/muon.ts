import { checkOptions } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import type { Tensor } from '../tensor.js';
import { ids } from './copy.js';
import { Optimizer, type Batch, type Parameters } from './optimizer.js';

const kernels = native<{
  muon_step(
    params: Id[],
    grads: Id[],
    buffers: Id[],
    masters: Id[],
    gradScale: Id | null,
    lr: number,
    momentum: number,
    weightDecay: number,
    nesterov: boolean,
    a: number,
    b: number,
    c: number,
    eps: number,
    iterations: number,
    matchRms: boolean,
  ): void;
}>('muon_step');

export interface MuonOptions {
  /** Default 1e-3. */
  lr: number;
  /** The weights shrink by lr · weightDecay. Default 0.1. */
  weightDecay: number;
  /** Share of the former direction that is kept. Default 0.95. */
  momentum: number;
  /** Looks one step of momentum ahead. Default true. */
  nesterov: boolean;
  /** Coefficients a, b, c of X ← aX + b(XXᵀ)X + c(XXᵀ)²X. Default [3.4445, -4.775, 2.0315]. */
  nsCoefficients: readonly [number, number, number];
  /** Least norm that a direction is divided by. Default 1e-7. */
  eps: number;
  /** Number of those iterations, at most 100. Default 5. */
  nsSteps: number;
  /**
   * How lr depends on a matrix of [rows, columns]: 'original' multiplies it with √max(1, rows / columns);
   * 'matchRmsAdamw' with 0.2·√max(rows, columns), so that a rate found for AdamW can be kept. Default 'original'.
   */
  adjustLr: 'original' | 'matchRmsAdamw';
}

/**
 * Muon (Jordan, 2024), as PyTorch's: the direction of momentum, with all its singular values brought close to
 * 1, so that what a layer has seldom seen is learnt as fast as what it sees in every picture. Sums are float32
 * (float64 beside float64), where PyTorch's are bfloat16.
 *
 * For hidden weights: linear layers, and convolutions, whose first axis stands against all others. Biases,
 * norms, embeddings and the first and last layers want AdamW beside it.
 */
export class Muon extends Optimizer<MuonOptions> {
  /** @throws ShapeError when a parameter has fewer than two axes. */
  constructor(parameters: Parameters<MuonOptions>, options: Partial<MuonOptions> = {}) {
    checkOptions('Muon', options);
    super(parameters, {
      lr: 1e-3,
      weightDecay: 0.1,
      momentum: 0.95,
      nesterov: true,
      nsCoefficients: [3.4445, -4.775, 2.0315],
      eps: 1e-7,
      nsSteps: 5,
      adjustLr: 'original',
      ...options,
    });
    for (const { params, lr, weightDecay, momentum, eps, nsSteps, adjustLr } of this.groups) {
      check(
        lr >= 0 && weightDecay >= 0 && momentum >= 0 && momentum < 1 && eps > 0,
        () =>
          `Muon: lr and weightDecay must be >= 0, momentum in [0, 1) and eps above 0; got lr ${lr}, ` +
          `weightDecay ${weightDecay}, momentum ${momentum}, eps ${eps}`,
      );
      check(
        Number.isInteger(nsSteps) && nsSteps >= 0 && nsSteps <= 100,
        () => `Muon: nsSteps must be a whole number from 0 to 100, got ${nsSteps}`,
      );
      check(
        adjustLr === 'original' || adjustLr === 'matchRmsAdamw',
        () => `Muon: adjustLr must be 'original' or 'matchRmsAdamw', got '${String(adjustLr)}'`,
      );
      for (const param of params)
        checkShape(
          param.rank >= 2,
          () =>
            `Muon: parameters are matrices, got one of shape [${param.shape.join(', ')}]. ` +
            'Give biases and norms to AdamW.',
        );
    }
  }

  protected override update(
    { group, params, grads, masters }: Batch<MuonOptions>,
    gradScale: Tensor | null,
  ): void {
    kernels.muon_step(
      ids(params),
      ids(grads),
      params.map((param) => this.slot('momentum_buffer', param).id),
      ids(masters),
      gradScale?.id ?? null,
      group.lr,
      group.momentum,
      group.weightDecay,
      group.nesterov,
      ...group.nsCoefficients,
      group.eps,
      group.nsSteps,
      group.adjustLr === 'matchRmsAdamw',
    );
  }
}
