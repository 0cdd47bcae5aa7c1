/** The KL-regularised latent: a Gaussian per latent element (paper, section 3.1 and appendix G). */
import { checkShape } from '../../errors.js';
import { clamp, exp } from '../../ops/index.js';
import { zerosLike } from '../../creation.js';
import { noise as drawNoise, type NoiseOptions } from '../../random.js';
import { Tensor } from '../../tensor.js';

/** Limits of the log-variance: exp() of it stays finite and positive. */
const logVarianceRange = [-30, 20] as const;

/**
 * The posterior q(z|x) that an encoder gives as [N, h, w, 2C]: means in the first half of the channels,
 * log-variances in the second.
 */
export class DiagonalGaussian {
  readonly mean: Tensor;
  /** clamped to [-30, 20] */
  readonly logvar: Tensor;
  readonly std: Tensor;
  readonly variance: Tensor;

  /** @param deterministic variance zero: sampling gives the mean */
  constructor(
    readonly moments: Tensor,
    readonly deterministic = false,
  ) {
    const axis = moments.rank - 1;
    const channels = moments.shape[axis];
    checkShape(channels % 2 === 0, () => {
      return `DiagonalGaussian: expected means and log-variances, so an even number of channels. Got [${moments.shape.join(', ')}].`;
    });
    const [mean, logvar] = moments.chunk(2, axis);
    this.mean = mean;
    this.logvar = clamp(logvar, ...logVarianceRange);
    this.std = deterministic ? zerosLike(this.mean) : exp(this.logvar.mul(0.5));
    this.variance = deterministic ? zerosLike(this.mean) : exp(this.logvar);
  }

  /** μ + σ ε. Give ε, or the seed that it is drawn with. */
  sample(noise: Tensor | NoiseOptions): Tensor {
    const eps =
      noise instanceof Tensor
        ? noise
        : drawNoise(this.mean.shape, { device: this.mean.device, ...noise });
    return this.mean.add(this.std.mul(eps));
  }

  /** The most likely latent: the mean. */
  mode(): Tensor {
    return this.mean;
  }

  /** KL divergence from N(0, I), or from another Gaussian, summed per image: [N]. */
  kl(other?: DiagonalGaussian): Tensor {
    if (other) {
      const distance = this.mean.sub(other.mean).square().div(other.variance);
      const terms = distance.add(this.variance.div(other.variance)).sub(1);
      return perImage(terms.sub(this.logvar).add(other.logvar)).mul(0.5);
    }
    const terms = this.mean.square().add(this.variance).sub(1).sub(this.logvar);
    const divergence = perImage(terms).mul(0.5);
    return this.deterministic ? zerosLike(divergence) : divergence;
  }

  /** Negative log-likelihood of a latent, summed per image: [N]. */
  nll(sample: Tensor): Tensor {
    const distance = sample.sub(this.mean).square().div(this.variance);
    return perImage(this.logvar.add(distance).add(Math.log(2 * Math.PI))).mul(0.5);
  }
}

function perImage(x: Tensor): Tensor {
  return x.sum(x.shape.map((_, axis) => axis).slice(1));
}
