/** Conditioning that is noised together with the latents (the original's `num_timesteps_cond`). */
import { tensor } from '../../creation.js';
import { indexSelect } from '../../ops/index.js';
import { noise, type NoiseOptions } from '../../random.js';
import { roundHalfToEven } from '../../rounding.js';
import type { Tensor } from '../../tensor.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';
import type { GaussianDiffusion } from './gaussian_diffusion.js';

/** At each t a level of noise: n of them, evenly over the process, for the first n timesteps, then the noisiest. */
export class ConditioningLevels {
  readonly #levels: BigInt64Array;

  constructor(
    private readonly diffusion: GaussianDiffusion,
    count: number,
  ) {
    const { timesteps } = diffusion.schedule;
    const last = timesteps - 1;
    const evenly = (i: number) => roundHalfToEven((i * last) / (count - 1));
    this.#levels = BigInt64Array.from({ length: timesteps }, (_, i) =>
      BigInt(i < count ? evenly(i) : last),
    );
  }

  /** Every entry at the level that belongs to t. */
  noised(conditioning: NetworkConditioning, t: Tensor, options: NoiseOptions): NetworkConditioning {
    const level = indexSelect(tensor(this.#levels, { device: t.device }), 0, t);
    const noised = Object.entries(conditioning).map(([name, c]) => {
      const x = c as Tensor;
      const drawn = noise(x.shape, { ...options, dtype: x.dtype, device: x.device });
      return [name, this.diffusion.qSample(x, level, drawn)];
    });
    return Object.fromEntries(noised) as NetworkConditioning;
  }
}
