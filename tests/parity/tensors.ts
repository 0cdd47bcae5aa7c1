// Between golden values in PyTorch's layout and tensors in ours: channels last for images and kernels.
import { isFloating, tensor, type Tensor } from '../../lib/index.js';
import type { Computed } from './compare.js';
import type { Values } from './golden.js';

/**
 * How PyTorch's axes map to ours. `channels`: [N, C, ...] there, [N, ..., C] here; it serves OIHW kernels
 * as well. `heads`: [N, K, T, D] there, [N, T, K, D] here. `same`: no difference.
 */
export type Layout = 'channels' | 'heads' | 'same';

/** Images and kernels have four axes in these files; sequences and embeddings have fewer. */
export const usualLayout = (shape: readonly number[]): Layout =>
  shape.length === 4 ? 'channels' : 'same';

/** Position of our axes among PyTorch's. */
function axesOf(rank: number, layout: Layout): number[] {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  if (layout === 'channels' && rank > 2) axes.push(...axes.splice(1, 1));
  if (layout === 'heads') [axes[1], axes[2]] = [axes[2], axes[1]];
  return axes;
}

/** What floating tensors become. */
export type Precision = 'float32' | 'float64';

let precision: Precision = 'float32';

/** The engine's float64 follows the original to 1e-6 everywhere, float32 as far as rounding allows. */
export function setPrecision(dtype: Precision): void {
  precision = dtype;
}

export const currentPrecision = (): Precision => precision;

/** A tensor of our layout. Floats get the current precision. */
export function toTensor(
  values: Values,
  layout: Layout = usualLayout(values.shape),
  requiresGrad = false,
): Tensor {
  const axes = axesOf(values.shape.length, layout);
  const data = permuted(values.data, values.shape, axes);
  const shape = axes.map((axis) => values.shape[axis]);
  const floating = isFloating(values.dtype);
  return tensor(Float64Array.from(data), {
    shape,
    dtype: floating ? precision : values.dtype,
    requiresGrad: requiresGrad && floating,
  });
}

/** Values of a tensor in PyTorch's layout. */
export async function fromTensor(
  x: Tensor,
  layout: Layout = usualLayout(x.shape),
): Promise<Computed> {
  const raw = await x.data();
  const data = raw instanceof BigInt64Array ? Float64Array.from(raw, Number) : raw;
  const axes = axesOf(x.rank, layout);
  const inverse = axes.map((_, axis) => axes.indexOf(axis));
  return { shape: inverse.map((axis) => x.shape[axis]), data: permuted(data, x.shape, inverse) };
}

/** Row-major data with its axes reordered: axis k of the result is axis `axes[k]`. */
function permuted(
  data: ArrayLike<number>,
  shape: readonly number[],
  axes: readonly number[],
): ArrayLike<number> {
  if (axes.every((axis, k) => axis === k)) return data;
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const result = new Float64Array(data.length);
  const index = axes.map(() => 0);
  let source = 0;
  for (let i = 0; i < result.length; i++) {
    result[i] = data[source];
    // the next index, as an odometer
    for (let k = axes.length - 1; k >= 0; k--) {
      source += strides[axes[k]];
      if (++index[k] < shape[axes[k]]) break;
      source -= index[k] * strides[axes[k]];
      index[k] = 0;
    }
  }
  return result;
}
