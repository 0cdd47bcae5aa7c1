/** How noisy a latent is at a timestep, √(1-ᾱ), on the device. */
import { tensor } from '../../creation.js';
import { isFloating } from '../../dtype.js';
import { clamp, expm1, floor, indexSelect, lerp, sqrt } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import type { NoiseSchedule } from '../diffusion/schedule.js';

/** At timesteps [N]. Between the trained ones, which some solvers visit, ln ᾱ is on a line as in their grid. */
export function noiseLevel(schedule: NoiseSchedule, t: Tensor): Tensor {
  const { device } = t;
  const at = (table: Float32Array, ids: Tensor) => indexSelect(tensor(table, { device }), 0, ids);
  if (!isFloating(t.dtype)) return at(schedule.sqrtOneMinusAlphasCumprod, t);
  const logs = Float32Array.from(schedule.exact.alphasCumprod, Math.log);
  const below = floor(t);
  const [low, high] = [below, clamp(below.add(1), 0, schedule.timesteps - 1)].map((whole) =>
    at(logs, whole.to('int64')),
  );
  return sqrt(expm1(lerp(low, high, t.sub(below))).neg());
}
