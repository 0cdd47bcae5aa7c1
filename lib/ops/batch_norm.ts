import { op } from '../autograd/index.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, noteWritten, type Tensor } from '../tensor.js';
import { checkNorm, gradientOf, idOf, statisticsDType, type Optional } from './norm_arguments.js';

type OptionalId = Id | null;

const kernels = native<{
  batch_norm_forward(
    x: Id,
    weight: OptionalId,
    bias: OptionalId,
    training: boolean,
    momentum: number,
    eps: number,
    runningMean: OptionalId,
    runningVar: OptionalId,
    y: Id,
    mean: Id,
    rstd: Id,
  ): void;
  batch_norm_backward(
    dy: Id,
    x: Id,
    weight: OptionalId,
    mean: Id,
    rstd: Id,
    training: boolean,
    dx: OptionalId,
    dweight: OptionalId,
    dbias: OptionalId,
  ): void;
}>('batch_norm_forward', 'batch_norm_backward');

export interface BatchNormOptions {
  /** true: statistics of this batch, and the running ones move; false: the running ones. */
  training: boolean;
  /** How far the running statistics move towards the batch's. Default 0.1. */
  momentum?: number;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

/**
 * Batch norm (Ioffe and Szegedy, 2015): each channel is normalised over all samples and positions. In
 * training the biased variance normalises, and the running statistics, where given, move in place
 * towards the mean and the unbiased variance, as in PyTorch.
 *
 * @param x [N, ..., C], channels last.
 * @param weight [C]. Default ones. It may be float32 for an x of a 16-bit dtype, as may the others.
 * @param bias [C]. Default zeros.
 * @param runningMean [C], with `runningVar`; needed when not training.
 * @returns the shape and dtype of x.
 */
export function batchNorm(
  x: Tensor,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  runningMean: Tensor | null | undefined,
  runningVar: Tensor | null | undefined,
  options: BatchNormOptions,
): Tensor {
  const { training, momentum = 0.1, eps = 1e-5 } = options;
  checkNorm('batchNorm', x, { weight, bias, runningMean, runningVar }, eps);
  const channels = x.shape[x.rank - 1];
  checkShape(
    x.rank >= 2 && channels > 0,
    () => `batchNorm: x must be [N, ..., C] with C > 0, got shape [${x.shape.join(', ')}]`,
  );
  check(
    typeof training === 'boolean',
    () => `batchNorm: training must be true or false, got ${String(training)}`,
  );
  check(
    momentum >= 0 && momentum <= 1,
    () => `batchNorm: momentum must lie in [0, 1], got ${momentum}`,
  );
  check(
    !runningMean === !runningVar && (training || runningMean),
    () =>
      'batchNorm: runningMean and runningVar go together, and without training both are needed; ' +
      `got ${runningMean ? 'only runningMean' : runningVar ? 'only runningVar' : 'neither'}`,
  );
  checkShape(
    !training || x.numel !== channels,
    () =>
      'batchNorm: training needs more than one value per channel, ' +
      `got x of shape [${x.shape.join(', ')}]`,
  );

  const y = empty(x.shape, x);
  const statistics = { dtype: statisticsDType(x), device: x.device };
  const mean = empty([channels], statistics);
  const rstd = empty([channels], statistics);
  kernels.batch_norm_forward(
    x.id,
    idOf(weight),
    idOf(bias),
    training,
    momentum,
    eps,
    idOf(runningMean),
    idOf(runningVar),
    y.id,
    mean.id,
    rstd.id,
  );
  if (training && runningMean && runningVar) noteWritten([runningMean, runningVar]);
  return op({
    name: 'batchNorm',
    inputs: [x, weight, bias],
    output: y,
    save: [x, mean, rstd, weight],
    backward([dy], [x, mean, rstd, weight], needs) {
      const shapes: Optional[] = [x, weight, bias];
      const gradients = shapes.map((input, i) => gradientOf(input, needs[i]));
      const [dx, dweight, dbias] = gradients.map(idOf);
      kernels.batch_norm_backward(
        dy.id,
        x.id,
        idOf(weight),
        mean.id,
        rstd.id,
        training,
        dx,
        dweight,
        dbias,
      );
      return gradients;
    },
  });
}
