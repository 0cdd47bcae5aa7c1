import { isGradEnabled, op } from '../autograd/index.js';
import { checkFloating, checkRank, checkSameDType, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsLow, toLow, toLowWeight } from './autocast.js';
import { add } from './elementwise.js';
import { matmul } from './matmul.js';

const kernels = native<{
  linear_forward(
    x: Id,
    weight: Id,
    bias: Id | null,
    residual: Id | null,
    activation: number,
    y: Id,
    preactivation: Id | null,
  ): void;
  activation_backward(dy: Id, x: Id, activation: number, dx: Id): void;
}>('linear_forward', 'activation_backward');

const activations = { silu: 1, gelu: 2, geglu: 3 } as const;

/** What a matrix op may apply to its result in the same pass. `gelu` is the exact form, with erf. */
export type FusedActivation = keyof typeof activations;

export interface LinearOptions {
  /** `geglu` halves the outputs: the first half times the GELU of the second. Default: none. */
  activation?: FusedActivation;
  /** Added after the activation; of the result's shape. */
  residual?: Tensor | null;
}

/**
 * The gradient of a fused activation's argument.
 * @internal
 */
export function activationBackward(
  dy: Tensor,
  preactivation: Tensor,
  activation: FusedActivation,
): Tensor {
  const dx = empty(preactivation.shape, preactivation);
  kernels.activation_backward(dy.id, preactivation.id, activations[activation], dx.id);
  return dx;
}

/** @internal A residual has the result's shape. */
export function checkResidual(
  name: string,
  shape: readonly number[],
  residual?: Tensor | null,
): void {
  checkShape(
    !residual || residual.shape.join() === shape.join(),
    () =>
      `${name}: residual must have the result's shape [${shape.join(', ')}], got [${residual!.shape.join(', ')}]`,
  );
}

/**
 * What autocast() makes of a residual: part of the low product, or added to it in its own precision.
 * @internal
 */
export const splitResidual = (
  residual?: Tensor | null,
): [fused: Tensor | null, wide: Tensor | null] =>
  residual?.dtype === 'float32' ? [null, residual] : [toLow(residual ?? null), null];

/** @internal The sum of a low product and a wide residual. */
export function addResidual(name: string, y: Tensor, residual: Tensor): Tensor {
  checkResidual(name, y.shape, residual);
  return add(y, residual);
}

/**
 * `act(x · weightᵀ + bias) + residual` for x `[..., C]` and weight `[K, C]`: a linear layer, with what follows it
 * in one pass over the result `[..., K]` (`[..., K/2]` with GEGLU).
 *
 * GEGLU: N. Shazeer, "GLU Variants Improve Transformer", 2020.
 * @throws ShapeError when channels do not fit, or the number of outputs is odd with GEGLU.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: LinearOptions = {},
): Tensor {
  const { activation, residual } = options;
  checkTensors('linear', { x, weight, bias, residual });
  checkFloating('linear', { x, weight, bias, residual });
  if (needsLow(x, weight, bias, residual))
    return tidy(() => {
      const [fused, wide] = splitResidual(residual);
      const y = linear(toLow(x), toLowWeight(weight), toLowWeight(bias), {
        activation,
        residual: fused,
      });
      return wide ? addResidual('linear', y, wide) : y;
    });
  checkSameDType('linear', { x, weight, bias, residual });
  checkRank('linear', 'weight', weight, 2);
  check(
    activation === undefined || Object.hasOwn(activations, activation),
    () =>
      `linear: activation must be one of ${Object.keys(activations).join(', ')}; got '${activation}'`,
  );
  const [K, C] = weight.shape;
  checkShape(
    x.rank >= 1 && x.shape.at(-1) === C,
    () =>
      `linear: the last axis of x must be the weight's input channels (${C}). ` +
      `Got x [${x.shape.join(', ')}] and weight [${weight.shape.join(', ')}]`,
  );
  checkShape(
    !bias || (bias.rank === 1 && bias.shape[0] === K),
    () =>
      `linear: bias must have shape [${K}] for weight [${weight.shape.join(', ')}], got [${bias!.shape.join(', ')}]`,
  );
  checkShape(
    activation !== 'geglu' || K % 2 === 0,
    () => `linear: geglu halves the outputs, so their number (${K}) must be even`,
  );
  const lead = x.shape.slice(0, -1);
  const y = empty([...lead, activation === 'geglu' ? K / 2 : K], x);
  checkResidual('linear', y.shape, residual);

  const inputs = [x, weight, bias, residual];
  const recorded = isGradEnabled() && inputs.some((input) => input?.requiresGrad);
  const preactivation =
    activation === 'geglu' || (activation && recorded) ? empty([...lead, K], x) : null;
  kernels.linear_forward(
    x.id,
    weight.id,
    bias?.id ?? null,
    residual?.id ?? null,
    activation ? activations[activation] : 0,
    y.id,
    preactivation?.id ?? null,
  );
  const result = op({
    name: 'linear',
    inputs,
    output: y,
    save: [weight.requiresGrad ? x : null, x.requiresGrad ? weight : null, preactivation],
    backward([dy], [x, weight, preactivation], needs) {
      const d = activation ? activationBackward(dy, preactivation, activation) : dy; // [..., K]
      const rows = d.reshape([d.numel / K, K]);
      return [
        needs[0] ? matmul(rows, weight).reshape([...lead, C]) : null,
        needs[1] ? matmul(rows, x.reshape([rows.shape[0], C]), { transposeA: true }) : null,
        needs[2] ? d : null, // summed over the rows by the walk
        needs[3] ? dy : null,
      ];
    },
  });
  preactivation?.dispose(); // the tape holds its own reference
  return result;
}
