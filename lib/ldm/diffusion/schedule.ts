/**
 * Noise schedules and everything derived from them (paper, section 3.2 and appendix; DDPM, section 2).
 * Computed in float64 and stored as float32, as the published checkpoints hold them.
 */
import { check } from '../../errors.js';

/**
 * How β grows with t. The names are the original's: `linear` is linear in √β (all released models),
 * `sqrt_linear` is linear in β, `sqrt` the root of a linear ramp.
 */
export type BetaSchedule = 'linear' | 'sqrt_linear' | 'sqrt' | 'cosine';

export interface NoiseScheduleConfig {
  /** default 'linear' */
  betaSchedule?: BetaSchedule;
  /** number of training steps T, default 1000 */
  timesteps?: number;
  /** β at t = 0 (not used by 'cosine'), default 1e-4 */
  linearStart?: number;
  /** β at t = T-1 (not used by 'cosine'), default 2e-2 */
  linearEnd?: number;
  /** offset s of the cosine schedule, default 8e-3 */
  cosineS?: number;
  /** weight v of β in the posterior variance, default 0 */
  vPosterior?: number;
  /** given β, instead of a formula */
  givenBetas?: readonly number[];
}

const { sqrt, log, cos, PI, min, max, fround } = Math;

/** β_t for t = 0..T-1 in float64. */
export function makeBetas(config: NoiseScheduleConfig = {}): Float64Array {
  const {
    betaSchedule = 'linear',
    timesteps = 1000,
    linearStart = 1e-4,
    linearEnd = 2e-2,
    cosineS = 8e-3,
    givenBetas,
  } = config;
  if (givenBetas) return Float64Array.from(givenBetas);
  check(Number.isInteger(timesteps) && timesteps > 0, () => {
    return `noise schedule: timesteps must be a positive integer. Got ${timesteps}.`;
  });
  const along = (start: number, end: number) => (_: unknown, t: number) =>
    timesteps === 1 ? start : start + (t / (timesteps - 1)) * (end - start);
  const steps = { length: timesteps };
  switch (betaSchedule) {
    case 'linear':
      return Float64Array.from(steps, along(sqrt(linearStart), sqrt(linearEnd))).map((r) => r * r);
    case 'sqrt_linear':
      return Float64Array.from(steps, along(linearStart, linearEnd));
    case 'sqrt':
      return Float64Array.from(steps, along(linearStart, linearEnd)).map(sqrt);
    case 'cosine': {
      const raw = (i: number) => cos((((i / timesteps + cosineS) / (1 + cosineS)) * PI) / 2) ** 2;
      const alphaBar = (i: number) => raw(i) / raw(0);
      return Float64Array.from(steps, (_: unknown, t: number) =>
        min(max(1 - alphaBar(t + 1) / alphaBar(t), 0), 0.999),
      );
    }
    default:
      throw unknownSchedule(betaSchedule);
  }
}

/** The tables of a noise schedule, each of length T. */
export class NoiseSchedule {
  readonly timesteps: number;
  /** β and ᾱ before they are rounded to float32 */
  readonly exact: { readonly betas: Float64Array; readonly alphasCumprod: Float64Array };
  readonly betas: Float32Array;
  /** ᾱ_t = Π (1 - β) up to t */
  readonly alphasCumprod: Float32Array;
  /** ᾱ_(t-1), 1 at t = 0 */
  readonly alphasCumprodPrev: Float32Array;
  readonly sqrtAlphasCumprod: Float32Array;
  readonly sqrtOneMinusAlphasCumprod: Float32Array;
  readonly logOneMinusAlphasCumprod: Float32Array;
  readonly sqrtRecipAlphasCumprod: Float32Array;
  readonly sqrtRecipm1AlphasCumprod: Float32Array;
  readonly posteriorVariance: Float32Array;
  readonly posteriorLogVarianceClipped: Float32Array;
  readonly posteriorMeanCoef1: Float32Array;
  readonly posteriorMeanCoef2: Float32Array;
  /** Weights of the variational bound, per parameterization; entry 0 repeats entry 1. */
  readonly lvlbWeights: Readonly<Record<'eps' | 'x0' | 'v', Float32Array>>;

  constructor(config: NoiseScheduleConfig = {}) {
    const beta = makeBetas(config);
    const v = config.vPosterior ?? 0;
    const T = (this.timesteps = beta.length);

    const alphaBar = new Float64Array(T);
    for (let t = 0, product = 1; t < T; t++) alphaBar[t] = product *= 1 - beta[t];
    this.exact = { betas: beta, alphasCumprod: alphaBar };
    const prev = (t: number) => (t === 0 ? 1 : alphaBar[t - 1]);
    const table = (f: (t: number) => number) => Float32Array.from({ length: T }, (_, t) => f(t));

    const variance = (t: number) =>
      ((1 - v) * beta[t] * (1 - prev(t))) / (1 - alphaBar[t]) + v * beta[t];
    this.betas = table((t) => beta[t]);
    this.alphasCumprod = table((t) => alphaBar[t]);
    this.alphasCumprodPrev = table(prev);
    this.sqrtAlphasCumprod = table((t) => sqrt(alphaBar[t]));
    this.sqrtOneMinusAlphasCumprod = table((t) => sqrt(1 - alphaBar[t]));
    this.logOneMinusAlphasCumprod = table((t) => log(1 - alphaBar[t]));
    this.sqrtRecipAlphasCumprod = table((t) => sqrt(1 / alphaBar[t]));
    this.sqrtRecipm1AlphasCumprod = table((t) => sqrt(1 / alphaBar[t] - 1));
    this.posteriorVariance = table(variance);
    // the variance is 0 at t = 0: the floor keeps its logarithm finite
    this.posteriorLogVarianceClipped = table((t) => log(max(variance(t), 1e-20)));
    this.posteriorMeanCoef1 = table((t) => (beta[t] * sqrt(prev(t))) / (1 - alphaBar[t]));
    this.posteriorMeanCoef2 = table((t) => ((1 - prev(t)) * sqrt(1 - beta[t])) / (1 - alphaBar[t]));
    // for v the authors' later code weighs all steps alike
    this.lvlbWeights = { eps: this.#lvlbEps(beta), x0: this.#lvlbX0(), v: table(() => 1) };
  }

  /** The tables under the names checkpoints store them by, in their order there. */
  buffers(): Record<string, Float32Array> {
    return {
      betas: this.betas,
      alphas_cumprod: this.alphasCumprod,
      alphas_cumprod_prev: this.alphasCumprodPrev,
      sqrt_alphas_cumprod: this.sqrtAlphasCumprod,
      sqrt_one_minus_alphas_cumprod: this.sqrtOneMinusAlphasCumprod,
      log_one_minus_alphas_cumprod: this.logOneMinusAlphasCumprod,
      sqrt_recip_alphas_cumprod: this.sqrtRecipAlphasCumprod,
      sqrt_recipm1_alphas_cumprod: this.sqrtRecipm1AlphasCumprod,
      posterior_variance: this.posteriorVariance,
      posterior_log_variance_clipped: this.posteriorLogVarianceClipped,
      posterior_mean_coef1: this.posteriorMeanCoef1,
      posterior_mean_coef2: this.posteriorMeanCoef2,
    };
  }

  // β² / (2 σ² α (1 - ᾱ)). In float32 arithmetic throughout, as the original derives it from its
  // stored tables: 1 - ᾱ loses digits at small t, and the published weights contain that loss.
  #lvlbEps(beta: Float64Array): Float32Array {
    const weights = this.betas.map((b, t) => {
      const twice = fround(2 * this.posteriorVariance[t]);
      const scaled = fround(twice * fround(1 - beta[t]));
      return fround(fround(b * b) / fround(scaled * fround(1 - this.alphasCumprod[t])));
    });
    return repeatSecond(weights);
  }

  // ½ √ᾱ / (2 - ᾱ): the denominator is the original's (2 (1 - ᾱ) was probably meant)
  #lvlbX0(): Float32Array {
    const weights = this.alphasCumprod.map((a) =>
      fround(fround(0.5 * fround(sqrt(a))) / fround(2 - a)),
    );
    return repeatSecond(weights);
  }
}

// entry 0 divides by a variance of zero
function repeatSecond(weights: Float32Array): Float32Array {
  if (weights.length > 1) weights[0] = weights[1];
  return weights;
}

function unknownSchedule(name: never): Error {
  return new TypeError(
    `noise schedule: unknown betaSchedule '${String(name)}'. ` +
      `Known are linear, sqrt_linear, sqrt and cosine.`,
  );
}
