/**
 * The diffusion process (paper, section 3.2 and appendix B; DDPM, sections 2 and 3): noising, the formulas
 * that relate x_0, x_t and ε, and the training loss. It holds no network: a prediction is a function.
 */
import { full } from '../../creation.js';
import { checkShape } from '../../errors.js';
import { parameter } from '../../nn/index.js';
import { exp, indexSelect } from '../../ops/index.js';
import { type Tensor } from '../../tensor.js';
import { minSnrWeights } from './min_snr.js';
import { checkDiffusionConfig } from './rules.js';
import { ScheduleTables } from './schedule_tables.js';
import { NoiseSchedule, type NoiseScheduleConfig } from './schedule.js';

/** A network's prediction for noisy latents [N, ...] at timesteps [N]. */
export type Denoiser = (x: Tensor, t: Tensor) => Tensor;

/**
 * What the network predicts: the noise ε, the clean latent x_0, or v = √ᾱ ε - √(1-ᾱ) x_0, from which
 * either follows without dividing by a small number (Salimans & Ho, "Progressive distillation", appendix D).
 */
export type Parameterization = 'eps' | 'x0' | 'v';

export interface DiffusionConfig extends NoiseScheduleConfig {
  /** default 'eps' */
  parameterization?: Parameterization;
  /** default 'l2' */
  lossType?: 'l1' | 'l2';
  /** weight of the plain loss, default 1 */
  lSimpleWeight?: number;
  /** weight of the variational bound, default 0 */
  originalElboWeight?: number;
  /** whether `logvar` is a parameter, default false */
  learnLogvar?: boolean;
  /** default 0 */
  logvarInit?: number;
  /** γ of min-SNR weighting, see {@link minSnrWeights}. Default: all timesteps weigh the same */
  minSnrGamma?: number;
}

/** The training loss and what the original logs beside it; all scalars. */
export interface DiffusionLoss {
  loss: Tensor;
  /** mean of the unweighted loss */
  lossSimple: Tensor;
  /** weighted as in the variational bound */
  lossVlb: Tensor;
  /** before the weights are applied: differs from lossSimple when logvar is not 0 */
  lossGamma: Tensor;
}

export class GaussianDiffusion {
  readonly schedule: NoiseSchedule;
  readonly parameterization: Parameterization;
  /** log-variance of the loss per timestep [T], a parameter; null if it is not learned. May be moved to a device */
  logvar: Tensor | null;
  readonly #tables: ScheduleTables;
  readonly #minSnr: Float32Array | null;
  readonly #config: DiffusionConfig;

  /** @throws ArgumentError for options that are unknown or out of range */
  constructor(config: DiffusionConfig = {}) {
    checkDiffusionConfig(config);
    this.#config = config;
    this.parameterization = config.parameterization ?? 'eps';
    this.schedule = new NoiseSchedule(config);
    this.#tables = new ScheduleTables(this.schedule);
    const { learnLogvar = false, logvarInit = 0, minSnrGamma } = config;
    this.#minSnr =
      minSnrGamma === undefined
        ? null
        : minSnrWeights(this.schedule, this.parameterization, minSnrGamma);
    this.logvar = learnLogvar ? parameter(full([this.schedule.timesteps], logvarInit)) : null;
  }

  /** x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε */
  qSample(x0: Tensor, t: Tensor, noise: Tensor): Tensor {
    const at = this.#tables.lookUp(x0, t);
    return at('sqrtAlphasCumprod').mul(x0).add(at('sqrtOneMinusAlphasCumprod').mul(noise));
  }

  /** Mean, variance and log-variance of q(x_t | x_0); the latter two are [N, 1, ...]. */
  qMeanVariance(x0: Tensor, t: Tensor): { mean: Tensor; variance: Tensor; logVariance: Tensor } {
    const at = this.#tables.lookUp(x0, t);
    return {
      mean: at('sqrtAlphasCumprod').mul(x0),
      variance: at('oneMinusAlphasCumprod'),
      logVariance: at('logOneMinusAlphasCumprod'),
    };
  }

  /** x_0 = √(1/ᾱ_t) x_t - √(1/ᾱ_t - 1) ε */
  predictStartFromNoise(xt: Tensor, t: Tensor, noise: Tensor): Tensor {
    const at = this.#tables.lookUp(xt, t);
    return at('sqrtRecipAlphasCumprod').mul(xt).sub(at('sqrtRecipm1AlphasCumprod').mul(noise));
  }

  /** ε = (√(1/ᾱ_t) x_t - x_0) / √(1/ᾱ_t - 1) */
  predictEpsFromXstart(xt: Tensor, t: Tensor, x0: Tensor): Tensor {
    const at = this.#tables.lookUp(xt, t);
    return at('sqrtRecipAlphasCumprod').mul(xt).sub(x0).div(at('sqrtRecipm1AlphasCumprod'));
  }

  /** v = √ᾱ_t ε - √(1-ᾱ_t) x_0 */
  velocity(x0: Tensor, t: Tensor, noise: Tensor): Tensor {
    const at = this.#tables.lookUp(x0, t);
    return at('sqrtAlphasCumprod').mul(noise).sub(at('sqrtOneMinusAlphasCumprod').mul(x0));
  }

  /** x_0 = √ᾱ_t x_t - √(1-ᾱ_t) v */
  predictStartFromV(xt: Tensor, t: Tensor, v: Tensor): Tensor {
    const at = this.#tables.lookUp(xt, t);
    return at('sqrtAlphasCumprod').mul(xt).sub(at('sqrtOneMinusAlphasCumprod').mul(v));
  }

  /** ε = √ᾱ_t v + √(1-ᾱ_t) x_t */
  predictEpsFromV(xt: Tensor, t: Tensor, v: Tensor): Tensor {
    const at = this.#tables.lookUp(xt, t);
    return at('sqrtAlphasCumprod').mul(v).add(at('sqrtOneMinusAlphasCumprod').mul(xt));
  }

  /** x_0 from what the network gives, whichever that is. */
  predictStart(xt: Tensor, t: Tensor, output: Tensor): Tensor {
    switch (this.parameterization) {
      case 'x0':
        return output;
      case 'v':
        return this.predictStartFromV(xt, t, output);
      case 'eps':
        return this.predictStartFromNoise(xt, t, output);
    }
  }

  /** Mean, variance and clipped log-variance of q(x_(t-1) | x_t, x_0). */
  qPosterior(
    x0: Tensor,
    xt: Tensor,
    t: Tensor,
  ): { mean: Tensor; variance: Tensor; logVarianceClipped: Tensor } {
    const at = this.#tables.lookUp(xt, t);
    return {
      mean: at('posteriorMeanCoef1').mul(x0).add(at('posteriorMeanCoef2').mul(xt)),
      variance: at('posteriorVariance'),
      logVarianceClipped: at('posteriorLogVarianceClipped'),
    };
  }

  /** KL(q(x_T | x_0) ‖ N(0, I)) in bits per dimension: [N]. */
  priorBpd(x0: Tensor): Tensor {
    const last = this.schedule.timesteps - 1;
    const logVariance = this.schedule.logOneMinusAlphasCumprod[last];
    // One number for all elements. Its terms nearly cancel: float32 arithmetic, as in the original, for
    // the original's numbers.
    const constant = Math.fround(
      Math.fround(-1 - logVariance) + Math.fround(Math.exp(logVariance)),
    );
    const mean = x0.mul(this.schedule.sqrtAlphasCumprod[last]);
    const nats = perSample(mean.square().add(constant)).mul(0.5);
    return nats.div(Math.LN2);
  }

  /**
   * The training loss for clean latents, uniformly drawn timesteps [N] and Gaussian noise. With weights
   * 1 and 0 and logvar 0, as in all released models, it is the mean error of the prediction.
   */
  loss(denoise: Denoiser, x0: Tensor, t: Tensor, noise: Tensor): DiffusionLoss {
    checkShape(x0.shape.join() === noise.shape.join(), () => {
      return `GaussianDiffusion.loss: noise must have the latents' shape [${x0.shape.join(', ')}]. Got [${noise.shape.join(', ')}].`;
    });
    const { lossType = 'l2', lSimpleWeight = 1, originalElboWeight = 0 } = this.#config;
    const prediction = denoise(this.qSample(x0, t, noise), t);
    const error = this.#target(x0, t, noise).sub(prediction);
    const each = perSample(lossType === 'l1' ? error.abs() : error.square()); // [N]

    const lossSimple = each.mean();
    const weighted = this.#minSnr
      ? each.mul(this.#tables.weights('minSnr', this.#minSnr, x0, t))
      : each;
    const lossGamma = this.#weighByVariance(weighted, this.#minSnr ? null : lossSimple, t);
    const bound = this.schedule.lvlbWeights[this.parameterization];
    const lossVlb = this.#tables.weights('lvlb', bound, x0, t).mul(each).mean();
    const simple = lSimpleWeight === 1 ? lossGamma : lossGamma.mul(lSimpleWeight);
    const loss = originalElboWeight === 0 ? simple : simple.add(lossVlb.mul(originalElboWeight));
    return { loss, lossSimple, lossVlb, lossGamma };
  }

  #target(x0: Tensor, t: Tensor, noise: Tensor): Tensor {
    switch (this.parameterization) {
      case 'x0':
        return x0;
      case 'v':
        return this.velocity(x0, t, noise);
      case 'eps':
        return noise;
    }
  }

  /** Frees the tables on the devices. */
  dispose(): void {
    this.#tables.dispose();
    this.logvar?.dispose();
  }

  // mean of ℓ / exp(logvar_t) + logvar_t; the mean of ℓ itself may be known already
  #weighByVariance(each: Tensor, known: Tensor | null, t: Tensor): Tensor {
    if (this.logvar) {
      const logvar = indexSelect(this.logvar, 0, t).to(each.dtype); // [N]
      return each.div(exp(logvar)).add(logvar).mean();
    }
    const { logvarInit = 0 } = this.#config;
    const mean = known ?? each.mean();
    return logvarInit === 0 ? mean : mean.div(Math.exp(logvarInit)).add(logvarInit);
  }
}

// mean over all axes but the first
function perSample(x: Tensor): Tensor {
  return x.mean(x.shape.map((_, axis) => axis).slice(1));
}
