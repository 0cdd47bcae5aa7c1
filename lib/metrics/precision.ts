/** What the metrics compute in, and how two batches of pictures are checked against each other. */
import { checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { autocast } from '../ops/autocast.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

export interface RangeOptions {
  /** Distance from black to white: 2 for pictures in [-1, 1] (the default), 255 for bytes. */
  dataRange?: number;
}

/**
 * Runs a metric on a pair of batches [N, H, W, C]. A float64 sum costs the CPU little and keeps every
 * digit; a GPU computes in float32.
 *
 * @returns [N], float64 for float64 pictures and float32 otherwise
 */
export function measure(
  name: string,
  a: Tensor,
  b: Tensor,
  { dataRange = 2 }: RangeOptions,
  metric: (a: Tensor, b: Tensor, dataRange: number) => Tensor,
): Tensor {
  checkTensors(name, { a, b });
  checkShape(a.rank === 4 && a.numel > 0 && String(a.shape) === String(b.shape), () => {
    const got = `[${a.shape.join(', ')}] and [${b.shape.join(', ')}]`;
    return `${name}: expected two batches of pictures [N, H, W, C] of one shape. Got ${got}.`;
  });
  check(dataRange > 0 && Number.isFinite(dataRange), () => {
    return `${name}: dataRange must be positive: 2 for pictures in [-1, 1]. Got ${dataRange}.`;
  });
  const working = a.device.name === 'cpu' ? 'float64' : 'float32';
  const result = a.dtype === 'float64' ? 'float64' : 'float32';
  return tidy(() =>
    autocast(false, () => metric(a.to(working), b.to(working), dataRange).to(result)),
  );
}
