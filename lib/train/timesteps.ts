// The timesteps of a loss, as a function of their key.
import { tensor } from '../creation.js';
import { uniforms } from '../data/philox.js';
import type { Device } from '../device.js';
import type { RandomKey } from '../random.js';
import type { Tensor } from '../tensor.js';

/** Uniform in 0..timesteps - 1, one for each of `count` samples: int64 [count]. */
export function drawTimesteps(
  count: number,
  timesteps: number,
  { seed, stream, step }: RandomKey,
  device: Device,
): Tensor {
  const t = BigInt64Array.from({ length: count }, (_, i) => {
    const [share] = uniforms(seed, stream, step, i);
    return BigInt(Math.floor(share * timesteps));
  });
  return tensor(t, { device });
}
