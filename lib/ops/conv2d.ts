import { isGradEnabled, op } from '../autograd/index.js';
import { checkFloating, checkRank, checkSameDType, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsLow, toLow, toLowWeight } from './autocast.js';
import { activationBackward, addResidual, checkResidual, splitResidual } from './linear.js';
import { sum } from './reduce.js';

type Pair = [number, number];
type Sides = [top: number, bottom: number, left: number, right: number];

const kernels = native<{
  conv2d_forward(
    x: Id,
    weight: Id,
    bias: Id | null,
    channelAdd: Id | null,
    residual: Id | null,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: number,
    silu: boolean,
    y: Id,
    preactivation: Id | null,
  ): void;
  conv2d_backward_input(
    dy: Id,
    weight: Id,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: number,
    dx: Id,
  ): void;
  conv2d_backward_weight(
    dy: Id,
    x: Id,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: number,
    dweight: Id,
  ): void;
}>('conv2d_forward', 'conv2d_backward_input', 'conv2d_backward_weight');

export interface Conv2dOptions {
  /** Step between output pixels, both ways or `[vertical, horizontal]`. Default 1. */
  stride?: number | readonly [number, number];
  /** Zeros around the image: all sides, `[top and bottom, left and right]`, or each side. Default 0. */
  padding?:
    | number
    | readonly [number, number]
    | { top?: number; bottom?: number; left?: number; right?: number };
  /** Distance between the kernel's taps. Default 1. */
  dilation?: number | readonly [number, number];
  /** Number of parts that the channels fall into, each convolved on its own. Default 1. */
  groups?: number;
  /** `[N, K]`, added to every pixel before the activation: a time embedding. */
  channelAdd?: Tensor | null;
  /** Default: none. */
  activation?: 'silu';
  /** Added after the activation; of the result's shape. */
  residual?: Tensor | null;
}

const show = (x: Tensor): string => `[${x.shape.join(', ')}]`;
const hasShape = (x: Tensor, shape: readonly number[]): boolean =>
  x.rank === shape.length && shape.every((extent, axis) => extent === x.shape[axis]);

function checkIntegers(name: string, values: readonly number[], least: number): void {
  check(
    values.every((value) => Number.isInteger(value) && value >= least && value < 2 ** 24),
    () => `conv2d: ${name} must be integers >= ${least}, got ${values.join(', ')}`,
  );
}

function pairOf(name: string, value: number | readonly [number, number]): Pair {
  const pair: Pair = typeof value === 'number' ? [value, value] : [value[0], value[1]];
  checkIntegers(name, pair, 1);
  return pair;
}

function sidesOf(padding: NonNullable<Conv2dOptions['padding']>): Sides {
  let sides: Sides;
  if (typeof padding === 'number') sides = [padding, padding, padding, padding];
  else if ('length' in padding) sides = [padding[0], padding[0], padding[1], padding[1]];
  else sides = [padding.top ?? 0, padding.bottom ?? 0, padding.left ?? 0, padding.right ?? 0];
  checkIntegers('padding', sides, 0);
  return sides;
}

/**
 * Two-dimensional convolution of images `[N, H, W, C]` with a weight `[K, R, S, C/groups]`:
 * `act(conv(x, weight) + bias + channelAdd) + residual`, of shape `[N, P, Q, K]` with
 * `P = ⌊(H + top + bottom - dilation·(R - 1) - 1) / stride⌋ + 1`, in one pass. Nothing is unfolded in memory.
 *
 * @throws ShapeError when channels and groups do not fit, or the kernel is larger than the padded image.
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: Conv2dOptions = {},
): Tensor {
  const { groups = 1, channelAdd, residual, activation } = options;
  const tensors = { x, weight, bias, channelAdd, residual };
  checkTensors('conv2d', tensors);
  checkFloating('conv2d', tensors);
  if (needsLow(x, weight, bias, channelAdd, residual))
    return tidy(() => {
      const [fused, wide] = splitResidual(residual);
      const y = conv2d(toLow(x), toLowWeight(weight), toLowWeight(bias), {
        ...options,
        channelAdd: toLow(channelAdd),
        residual: fused,
      });
      return wide ? addResidual('conv2d', y, wide) : y;
    });
  checkSameDType('conv2d', tensors);
  checkRank('conv2d', 'x', x, 4);
  checkRank('conv2d', 'weight', weight, 4);
  check(
    activation === undefined || activation === 'silu',
    () => `conv2d: activation must be 'silu' or missing, got '${String(activation)}'`,
  );
  const stride = pairOf('stride', options.stride ?? 1);
  const dilation = pairOf('dilation', options.dilation ?? 1);
  const padding = sidesOf(options.padding ?? 0);
  checkIntegers('groups', [groups], 1);

  const [N, H, W, C] = x.shape;
  const [K, R, S, groupC] = weight.shape;
  checkShape(
    C % groups === 0 && K % groups === 0,
    () =>
      `conv2d: groups (${groups}) must divide the channels of x ${show(x)} and the outputs of weight ${show(weight)}`,
  );
  checkShape(
    groupC * groups === C,
    () =>
      `conv2d: weight [outputs, height, width, channels per group] ${show(weight)} in ${groups} group(s) takes ` +
      `${groupC * groups} channels. Got x [batch, height, width, channels] ${show(x)} with ${C}`,
  );
  const extent = (size: number, pads: number, kernel: number, axis: 0 | 1): number =>
    Math.floor((size + pads - dilation[axis] * (kernel - 1) - 1) / stride[axis]) + 1;
  const P = extent(H, padding[0] + padding[1], R, 0);
  const Q = extent(W, padding[2] + padding[3], S, 1);
  checkShape(
    R > 0 && S > 0 && P > 0 && Q > 0,
    () =>
      `conv2d: a ${R}x${S} kernel (dilation ${dilation.join(', ')}) does not fit into x ${show(x)} with padding ` +
      `${padding.join(', ')} (top, bottom, left, right)`,
  );
  const shape = [N, P, Q, K];
  checkShape(
    !bias || hasShape(bias, [K]),
    () => `conv2d: bias must have shape [${K}], got ${show(bias!)}`,
  );
  checkShape(
    !channelAdd || hasShape(channelAdd, [N, K]),
    () =>
      `conv2d: channelAdd must have shape [batch, outputs] [${N}, ${K}], got ${show(channelAdd!)}`,
  );
  checkResidual('conv2d', shape, residual);

  const inputs = [x, weight, bias, channelAdd, residual];
  const y = empty(shape, x);
  const recorded = isGradEnabled() && inputs.some((input) => input?.requiresGrad);
  const preactivation = activation && recorded ? empty(shape, x) : null;
  kernels.conv2d_forward(
    x.id,
    weight.id,
    bias?.id ?? null,
    channelAdd?.id ?? null,
    residual?.id ?? null,
    stride,
    padding,
    dilation,
    groups,
    activation === 'silu',
    y.id,
    preactivation?.id ?? null,
  );
  const result = op({
    name: 'conv2d',
    inputs,
    output: y,
    save: [weight.requiresGrad ? x : null, x.requiresGrad ? weight : null, preactivation],
    backward([dy], [x, weight, preactivation], needs) {
      const d = activation ? activationBackward(dy, preactivation, activation) : dy; // [N, P, Q, K]
      const dx = needs[0] ? empty([N, H, W, C], d) : null;
      const dweight = needs[1] ? empty([K, R, S, groupC], d) : null;
      if (dx)
        kernels.conv2d_backward_input(d.id, weight.id, stride, padding, dilation, groups, dx.id);
      if (dweight)
        kernels.conv2d_backward_weight(d.id, x.id, stride, padding, dilation, groups, dweight.id);
      return [
        dx,
        dweight,
        needs[2] ? d : null, // summed over the pixels by the walk
        needs[3] ? sum(d, [1, 2]) : null,
        needs[4] ? dy : null,
      ];
    },
  });
  preactivation?.dispose(); // the tape holds its own reference
  return result;
}
