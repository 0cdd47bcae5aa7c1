/** Peak signal-to-noise ratio. */
import { log } from '../ops/index.js';
import type { Tensor } from '../tensor.js';
import { measure, type RangeOptions } from './measure.js';

/**
 * 20 log₁₀(L / √MSE) in decibels, L from black to white, the mean taken over pixels and channels of each picture: higher is
 * closer, and equal pictures give Infinity.
 *
 * The paper (table 8) compares pictures as 8-bit files hold them; {@link comparePictures} reads such files.
 *
 * @param a [N, H, W, C]
 * @param b of the same shape
 * @returns [N], float32 (float64 for float64 pictures)
 */
export function psnr(a: Tensor, b: Tensor, options: RangeOptions = {}): Tensor {
  return measure('psnr', a, b, options, (x, y, white) => {
    const mse = x.sub(y).square().mean([1, 2, 3]);
    return log(mse.div(white ** 2)).mul(-10 / Math.LN10);
  });
}
