import { op } from '../autograd/index.js';
import { checkDType, checkFloating, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsWide, toWide } from './autocast.js';
import { statisticsDType } from './norm_arguments.js';

const kernels = native<{
  cross_entropy_forward(
    logits: Id,
    target: Id,
    ignoreIndex: number,
    labelSmoothing: number,
    reduction: number,
    loss: Id,
    max: Id,
    sum: Id,
  ): void;
  cross_entropy_backward(
    dloss: Id,
    logits: Id,
    target: Id,
    max: Id,
    sum: Id,
    ignoreIndex: number,
    labelSmoothing: number,
    reduction: number,
    dlogits: Id,
  ): void;
}>('cross_entropy_forward', 'cross_entropy_backward');

const reductions = ['none', 'sum', 'mean'] as const;

export interface CrossEntropyOptions {
  /** Positions with this target have no loss and do not count in the mean. Default -100. */
  ignoreIndex?: number;
  /** The share of the target's probability that is spread evenly over all classes. Default 0. */
  labelSmoothing?: number;
  /** `mean` is over the positions that are not ignored (NaN if there are none). Default `mean`. */
  reduction?: (typeof reductions)[number];
}

/**
 * -log softmax(logits)[target], fused: neither pass stores the log-probabilities.
 *
 * The class axis is the **last** one (PyTorch's is axis 1): logits [N, H, W, C] go with a target
 * [N, H, W]; `permute` logits that come otherwise.
 *
 * @param logits [..., C].
 * @param target [...] of int64 or int32, each in [0, C) or `ignoreIndex`. Any other index is an error
 *   that the next read throws, because targets are looked at when the device gets there.
 * @returns a scalar, or with reduction `none` the shape of target; the dtype of logits.
 */
export function crossEntropy(
  logits: Tensor,
  target: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const { ignoreIndex = -100, labelSmoothing = 0, reduction = 'mean' } = options;
  checkTensors('crossEntropy', { logits, target });
  checkFloating('crossEntropy', { logits });
  if (needsWide(logits)) return tidy(() => crossEntropy(toWide(logits), target, options));
  checkDType('crossEntropy', 'target', target, ['int64', 'int32']);
  checkShape(
    logits.rank >= 1 && logits.shape[logits.rank - 1] > 0,
    () =>
      `crossEntropy: logits must be [..., C] with C > 0, got shape [${logits.shape.join(', ')}]`,
  );
  checkShape(
    target.shape.join() === logits.shape.slice(0, -1).join(),
    () =>
      `crossEntropy: target must have the shape of logits without the last axis, the classes. ` +
      `Got logits [${logits.shape.join(', ')}] and target [${target.shape.join(', ')}]`,
  );
  check(
    Number.isSafeInteger(ignoreIndex),
    () => `crossEntropy: ignoreIndex must be an integer, got ${ignoreIndex}`,
  );
  check(
    labelSmoothing >= 0 && labelSmoothing <= 1,
    () => `crossEntropy: labelSmoothing must lie in [0, 1], got ${labelSmoothing}`,
  );
  const mode = reductions.indexOf(reduction);
  check(
    mode >= 0,
    () => `crossEntropy: reduction must be mean, sum or none, got ${String(reduction)}`,
  );

  const loss = empty(reduction === 'none' ? target.shape : [], logits);
  const statistics = { dtype: statisticsDType(logits), device: logits.device };
  const max = empty(target.shape, statistics);
  const sum = empty(target.shape, statistics);
  kernels.cross_entropy_forward(
    logits.id,
    target.id,
    ignoreIndex,
    labelSmoothing,
    mode,
    loss.id,
    max.id,
    sum.id,
  );
  return op({
    name: 'crossEntropy',
    inputs: [logits],
    output: loss,
    save: [logits, target, max, sum],
    backward([dloss], [logits, target, max, sum]) {
      const dlogits = empty(logits.shape, logits);
      kernels.cross_entropy_backward(
        dloss.id,
        logits.id,
        target.id,
        max.id,
        sum.id,
        ignoreIndex,
        labelSmoothing,
        mode,
        dlogits.id,
      );
      return [dlogits];
    },
  });
}
