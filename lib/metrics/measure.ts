/** What the metrics compute in, and how two batches of pictures are checked against each other. */
import { checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { autocast } from '../ops/autocast.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

export interface RangeOptions {
  /** Values of black and of white: `[0, 255]` for bytes. Default `[-1, 1]`. */
  range?: readonly [black: number, white: number];
}

/**
 * Runs a metric on a pair of batches [N, H, W, C]. A float64 sum costs the CPU little and keeps every
 * digit; a GPU computes in float32.
 *
 * @param metric is given pictures whose black is 0, and the value of white
 * @returns [N], float64 for float64 pictures and float32 otherwise
 */
export function measure(
  name: string,
  a: Tensor,
  b: Tensor,
  { range: [black, white] = [-1, 1] }: RangeOptions,
  metric: (a: Tensor, b: Tensor, white: number) => Tensor,
): Tensor {
  checkTensors(name, { a, b });
  checkShape(a.rank === 4 && a.numel > 0 && String(a.shape) === String(b.shape), () => {
    const got = `[${a.shape.join(', ')}] and [${b.shape.join(', ')}]`;
    return `${name}: expected two batches of pictures [N, H, W, C] of one shape. Got ${got}.`;
  });
  check(white > black && Number.isFinite(white - black), () => {
    return `${name}: range is [black, white], such as [-1, 1]. Got [${black}, ${white}].`;
  });
  const working = a.device.name === 'cpu' ? 'float64' : 'float32';
  const result = a.dtype === 'float64' ? 'float64' : 'float32';
  const fromBlack = (x: Tensor): Tensor => x.to(working).sub(black);
  return tidy(() =>
    autocast(false, () => metric(fromBlack(a), fromBlack(b), white - black).to(result)),
  );
}
