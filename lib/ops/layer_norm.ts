import { op } from '../autograd/index.js';
import { checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import { checkNorm, gradientOf, idOf, statisticsDType, type Optional } from './norm_arguments.js';

type OptionalId = Id | null;

const kernels = native<{
  layer_norm_forward(
    x: Id,
    weight: OptionalId,
    bias: OptionalId,
    eps: number,
    y: Id,
    mean: Id,
    rstd: Id,
  ): void;
  layer_norm_backward(
    dy: Id,
    x: Id,
    weight: OptionalId,
    mean: Id,
    rstd: Id,
    dx: OptionalId,
    dweight: OptionalId,
    dbias: OptionalId,
  ): void;
}>('layer_norm_forward', 'layer_norm_backward');

export interface LayerNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

/**
 * Layer norm (Ba et al., 2016) over the last axis: every row is normalised to mean 0 and variance 1
 * (biased), then scaled per channel.
 *
 * @param x [..., C].
 * @param weight [C]. Default ones. It may be float32 for an x of a 16-bit dtype, as may the bias.
 * @param bias [C]. Default zeros.
 * @returns the shape and dtype of x.
 */
export function layerNorm(
  x: Tensor,
  weight?: Tensor | null,
  bias?: Tensor | null,
  options: LayerNormOptions = {},
): Tensor {
  const { eps = 1e-5 } = options;
  checkNorm('layerNorm', x, { weight, bias }, eps);
  checkShape(
    x.rank >= 1 && x.shape[x.rank - 1] > 0,
    () => `layerNorm: x must be [..., C] with C > 0, got shape [${x.shape.join(', ')}]`,
  );
  const y = empty(x.shape, x);
  const statistics = { dtype: statisticsDType(x), device: x.device };
  const mean = empty(x.shape.slice(0, -1), statistics);
  const rstd = empty(x.shape.slice(0, -1), statistics);
  kernels.layer_norm_forward(x.id, idOf(weight), idOf(bias), eps, y.id, mean.id, rstd.id);
  return op({
    name: 'layerNorm',
    inputs: [x, weight, bias],
    output: y,
    save: [x, mean, rstd, weight],
    backward([dy], [x, mean, rstd, weight], needs) {
      const shapes: Optional[] = [x, weight, bias];
      const gradients = shapes.map((input, i) => gradientOf(input, needs[i]));
      const [dx, dweight, dbias] = gradients.map(idOf);
      kernels.layer_norm_backward(dy.id, x.id, idOf(weight), mean.id, rstd.id, dx, dweight, dbias);
      return gradients;
    },
  });
}
