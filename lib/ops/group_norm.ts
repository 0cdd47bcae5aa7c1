import { op } from '../autograd/index.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import { checkNorm, gradientOf, idOf, statisticsDType, type Optional } from './norm_arguments.js';

type OptionalId = Id | null;

const kernels = native<{
  group_norm_forward(
    x: Id,
    weight: OptionalId,
    bias: OptionalId,
    scale: OptionalId,
    shift: OptionalId,
    eps: number,
    silu: boolean,
    y: Id,
    mean: Id,
    rstd: Id,
  ): void;
  group_norm_backward(
    dy: Id,
    x: Id,
    weight: OptionalId,
    bias: OptionalId,
    scale: OptionalId,
    shift: OptionalId,
    mean: Id,
    rstd: Id,
    silu: boolean,
    dx: OptionalId,
    dweight: OptionalId,
    dbias: OptionalId,
    dscale: OptionalId,
    dshift: OptionalId,
  ): void;
}>('group_norm_forward', 'group_norm_backward');

export interface GroupNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Applied to the result in the same pass. Default none. */
  activation?: 'silu';
  /** [N, C]: after weight and bias the result is multiplied by 1 + scale ... */
  scale?: Tensor | null;
  /** [N, C]: ... and shifted. Given together with `scale`. */
  shift?: Tensor | null;
}

/**
 * Group norm (Wu and He, 2018): each sample's groups of neighbouring channels are normalised to mean
 * 0 and variance 1 (biased), then scaled per channel. Keeps its digits when the mean is far larger
 * than the deviation.
 *
 * @param x [N, ..., C], channels last: images [N, H, W, C], sequences [N, T, C].
 * @param groups divides C; any number of channels per group.
 * @param weight [C]. Default ones. It may be float32 for an x of a 16-bit dtype, as may the others.
 * @param bias [C]. Default zeros.
 * @returns the shape and dtype of x.
 * @throws ShapeError when groups do not divide the channels or a parameter's shape does not fit.
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight?: Tensor | null,
  bias?: Tensor | null,
  options: GroupNormOptions = {},
): Tensor {
  const { eps = 1e-5, activation, scale, shift } = options;
  checkNorm('groupNorm', x, { weight, bias }, eps);
  checkShape(
    x.rank >= 2,
    () => `groupNorm: x must be [N, ..., C], got shape [${x.shape.join(', ')}]`,
  );
  const images = x.shape[0];
  const channels = x.shape[x.rank - 1];
  check(
    Number.isInteger(groups) && groups > 0,
    () => `groupNorm: groups must be an integer > 0, got ${groups}`,
  );
  checkShape(
    channels > 0 && channels % groups === 0,
    () =>
      `groupNorm: channels (${channels}) must be divisible by groups (${groups}). ` +
      `Got x of shape [${x.shape.join(', ')}]; channels are the last axis.`,
  );
  checkNorm('groupNorm', x, { scale, shift }, eps, [images, channels]);
  check(
    !scale === !shift,
    () => `groupNorm: scale and shift go together; got only ${scale ? 'scale' : 'shift'}`,
  );
  check(
    activation === undefined || activation === 'silu',
    () => `groupNorm: activation must be 'silu' or undefined, got ${String(activation)}`,
  );

  const silu = activation === 'silu';
  const y = empty(x.shape, x);
  const statistics = { dtype: statisticsDType(x), device: x.device };
  const mean = empty([images, groups], statistics);
  const rstd = empty([images, groups], statistics);
  kernels.group_norm_forward(
    x.id,
    idOf(weight),
    idOf(bias),
    idOf(scale),
    idOf(shift),
    eps,
    silu,
    y.id,
    mean.id,
    rstd.id,
  );
  return op({
    name: 'groupNorm',
    inputs: [x, weight, bias, scale, shift],
    output: y,
    save: [x, weight, bias, scale, shift, mean, rstd],
    backward([dy], [x, ...saved], needs) {
      const [weight, bias, scale, shift, mean, rstd]: Optional[] = saved;
      const gradients = [x, weight, bias, scale, shift].map((input, i) =>
        gradientOf(input, needs[i]),
      );
      const [dx, dweight, dbias, dscale, dshift] = gradients.map(idOf);
      kernels.group_norm_backward(
        dy.id,
        x.id,
        idOf(weight),
        idOf(bias),
        idOf(scale),
        idOf(shift),
        mean!.id,
        rstd!.id,
        silu,
        dx,
        dweight,
        dbias,
        dscale,
        dshift,
      );
      return gradients;
    },
  });
}
