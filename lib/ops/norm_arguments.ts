import { checkFloating, checkTensors } from '../checks.js';
import type { DType } from '../dtype.js';
import { check, checkShape } from '../errors.js';
import { empty, type Tensor } from '../tensor.js';

/** A per-channel parameter or another optional tensor. */
export type Optional = Tensor | null | undefined;

/** Statistics are kept in float32, whatever 16-bit type x is stored in. */
export const statisticsDType = (x: Tensor): DType =>
  x.dtype === 'float64' ? 'float64' : 'float32';

/** Floating tensors on one device, every parameter of `shape`: the channels of x by default. */
export function checkNorm(
  op: string,
  x: Tensor,
  parameters: Readonly<Record<string, Optional>>,
  eps: number,
  shape: readonly number[] = x.shape?.slice(-1) ?? [],
): void {
  checkTensors(op, { x, ...parameters });
  checkFloating(op, { x, ...parameters });
  check(eps >= 0, () => `${op}: eps must be a number >= 0, got ${eps}`);
  for (const [name, parameter] of Object.entries(parameters))
    checkShape(
      !parameter || parameter.shape.join() === shape.join(),
      () =>
        `${op}: ${name} must have shape [${shape.join(', ')}] ` +
        `for x of shape [${x.shape.join(', ')}], got [${parameter!.shape.join(', ')}]`,
    );
}

/** Memory for the gradient of an input that exists and needs one. */
export const gradientOf = (x: Optional, needed: boolean): Tensor | null =>
  x && needed ? empty(x.shape, x) : null;

/** The native form of an optional tensor. */
export const idOf = (x: Optional): number | null => x?.id ?? null;
