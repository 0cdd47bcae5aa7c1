import { op } from '../autograd/index.js';
import { checkRank, checkTensors } from '../checks.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';

const kernels = native<{
  timestep_embedding(t: Id, maxPeriod: number, ddpm: boolean, y: Id): void;
}>('timestep_embedding');

export interface TimestepEmbeddingOptions {
  /** Period of the slowest wave, divided by 2π. Default 10000. */
  maxPeriod?: number;
  /**
   * `ldm` (default, the U-Nets): cosines, then sines, frequency exponents i/half. `ddpm` (the original
   * diffusion code): sines, then cosines, i/(half − 1).
   */
  variant?: 'ldm' | 'ddpm';
}

/**
 * Sinusoidal embedding of diffusion times: waves of t whose frequencies fall geometrically from 1 to
 * 1/maxPeriod. Not differentiable.
 *
 * @param t [B], any dtype; fractional times are allowed.
 * @param dim width of the embedding, at least 2 (`ddpm` 4). An odd width ends in a zero.
 * @returns [B, dim] float32, computed in float32 as in the reference; float64 for float64 times.
 * @see Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B.
 */
export function timestepEmbedding(
  t: Tensor,
  dim: number,
  options: TimestepEmbeddingOptions = {},
): Tensor {
  const { maxPeriod = 10000, variant = 'ldm' } = options;
  checkTensors('timestepEmbedding', { t });
  checkRank('timestepEmbedding', 't', t, 1);
  check(
    variant === 'ldm' || variant === 'ddpm',
    () => `timestepEmbedding: variant must be 'ldm' or 'ddpm', got ${String(variant)}`,
  );
  const least = variant === 'ddpm' ? 4 : 2;
  check(
    Number.isInteger(dim) && dim >= least,
    () => `timestepEmbedding: dim must be an integer >= ${least} for '${variant}', got ${dim}`,
  );
  check(
    maxPeriod > 0 && Number.isFinite(maxPeriod),
    () => `timestepEmbedding: maxPeriod must be positive, got ${maxPeriod}`,
  );
  const dtype = t.dtype === 'float64' ? 'float64' : 'float32';
  const y = empty([t.shape[0], dim], { dtype, device: t.device });
  kernels.timestep_embedding(t.id, maxPeriod, variant === 'ddpm', y.id);
  return op({
    name: 'timestepEmbedding',
    inputs: [t],
    output: y,
    backward: 'not differentiable',
  });
}
