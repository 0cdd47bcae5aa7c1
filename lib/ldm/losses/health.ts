/** The known ways in which training a first stage fails, told from logged numbers in plain words. */
import { check } from '../../errors.js';
import { largestAdaptiveWeight } from './adversarial.js';
import type { AdversarialLossConfig, VqLossConfig } from './config.js';

export interface HealthOptions {
  /** Logged entries that must agree before a warning is given, non-finite values aside. Default 100. */
  window?: number;
  /** The loss's options: which discriminator loss, its weights, the size of the codebook. */
  config?: Pick<AdversarialLossConfig, 'discLoss' | 'discWeight'> & Pick<VqLossConfig, 'nClasses'>;
  /** Latent vectors in a batch, N·h·w: fewer than codes can use only that many of them. */
  vectorsPerBatch?: number;
}

/**
 * Logged numbers of a step under the losses' names without a prefix, from both optimizers; `latent_mean` and
 * `latent_std` may be added. What is missing is not judged.
 */
export type LoggedLosses = Readonly<Record<string, number>>;

/** A failure, recognised in the last entries: what was seen, what it means and what to change, or null. */
type Sign = (recent: readonly LoggedLosses[], health: Required<HealthOptions>) => string | null;

/**
 * Watches a first stage's training.
 *
 * ```ts
 * const health = new LossHealth({ config: lossConfig });
 * for (const warning of health.observe(logged)) console.warn(warning);
 * ```
 */
export class LossHealth {
  readonly #options: Required<HealthOptions>;
  readonly #recent: LoggedLosses[] = [];
  readonly #standing = new Set<Sign>();

  constructor(options: HealthOptions = {}) {
    const { window = 100, config = {}, vectorsPerBatch = Infinity } = options;
    check(Number.isInteger(window) && window >= 1, () => {
      return `LossHealth: window must be an integer of at least 1, got ${window}`;
    });
    this.#options = { window, config, vectorsPerBatch };
  }

  /**
   * Takes the next logged numbers.
   *
   * @returns warnings that these have brought about. One that stands is told once, and again only after it
   * had passed.
   */
  observe(logged: LoggedLosses): string[] {
    this.#recent.push(logged);
    if (this.#recent.length > this.#options.window) this.#recent.shift();
    const warnings: string[] = [];
    for (const sign of signs) {
      const warning = sign(this.#recent, this.#options);
      if (warning === null) this.#standing.delete(sign);
      else if (!this.#standing.has(sign)) {
        this.#standing.add(sign);
        warnings.push(warning);
      }
    }
    return warnings;
  }
}

const show = (value: number): string => String(Number(value.toPrecision(3)));

// The values of some names where each was logged by each entry of a full window; null otherwise.
function columns<K extends string>(
  recent: readonly LoggedLosses[],
  { window }: Required<HealthOptions>,
  ...names: K[]
): Record<K, { min: number; max: number; mean: number }> | null {
  if (recent.length < window) return null;
  const found = names.map((name) => {
    const values = recent.map((logged) => logged[name]);
    if (!values.every(Number.isFinite)) return null;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [name, { min: Math.min(...values), max: Math.max(...values), mean }] as const;
  });
  if (found.includes(null)) return null;
  return Object.fromEntries(found as [K, { min: number; max: number; mean: number }][]) as never;
}

const notFinite: Sign = (recent) => {
  const last = recent[recent.length - 1];
  const names = Object.keys(last).filter((name) => !Number.isFinite(last[name]));
  if (names.length === 0) return null;
  return (
    `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} not finite (${names.map((n) => last[n]).join(', ')}). ` +
    'The weights may be ruined. Go back to the last checkpoint, lower the learning rate or clip gradients, ' +
    'and train in float32 if it was 16 bits.'
  );
};

/** The discriminator's loss by itself: what is logged was multiplied by its factor. Null before its start. */
function discriminator(recent: readonly LoggedLosses[], health: Required<HealthOptions>) {
  const seen = columns(recent, health, 'disc_loss', 'disc_factor', 'logits_real', 'logits_fake');
  if (!seen || !(seen.disc_factor.min > 0)) return null;
  const { disc_loss: loss, disc_factor: factor } = seen;
  return {
    least: loss.min / factor.mean,
    most: loss.max / factor.mean,
    mean: loss.mean / factor.mean,
    real: seen.logits_real.mean,
    fake: seen.logits_fake.mean,
  };
}

const discriminatorWins: Sign = (recent, health) => {
  const seen = discriminator(recent, health);
  // Beyond ±1 the hinge loss has no gradient left; the other loss is as good as solved there.
  if (!seen || !(seen.most < 0.1 && seen.real > 1 && seen.fake < -1)) return null;
  return (
    `The discriminator wins: its loss stayed below 0.1 (mean ${show(seen.mean)}) for ${health.window} entries, ` +
    `logits_real ${show(seen.real)}, logits_fake ${show(seen.fake)}. It tells every patch apart and teaches ` +
    'nothing; reconstructions get artefacts. Start it later (disc_start), lower disc_weight or its learning ' +
    'rate, or give it fewer layers.'
  );
};

const discriminatorIsDead: Sign = (recent, health) => {
  const seen = discriminator(recent, health);
  if (!seen) return null;
  const chance = health.config.discLoss === 'vanilla' ? Math.log(2) : 1;
  const stuck = Math.max(Math.abs(seen.least - chance), Math.abs(seen.most - chance)) < 0.005;
  if (!stuck || Math.abs(seen.real - seen.fake) > 0.01) return null;
  return (
    `The discriminator is dead: its loss stands at ${show(seen.mean)}, which is guessing, and logits of real and ` +
    `reconstructed images are alike (${show(seen.real)}, ${show(seen.fake)}) for ${health.window} entries. The ` +
    'adversarial term does nothing. Check that its optimizer runs and its gradients arrive; raise its learning ' +
    'rate, or start it from new weights.'
  );
};

const codebookCollapsed: Sign = (recent, health) => {
  const codes = health.config.nClasses;
  if (!codes) return null;
  const possible = Math.min(codes, health.vectorsPerBatch);
  const perplexity = columns(recent, health, 'perplexity')?.perplexity.mean ?? Infinity;
  const used = columns(recent, health, 'cluster_usage')?.cluster_usage.mean ?? Infinity;
  if (perplexity >= 0.05 * possible && used >= 0.1 * possible) return null;
  const seen = [
    ...(used === Infinity ? [] : [`${show(used)} codes`]),
    ...(perplexity === Infinity ? [] : [`a perplexity of ${show(perplexity)}`]),
  ];
  return (
    `The codebook has collapsed: a batch uses ${seen.join(' with ')}, of ${codes} codes` +
    `${possible < codes ? ` (${possible} vectors in a batch)` : ''}, over ${health.window} entries. The rest is ` +
    'wasted, and dead codes do not come back by themselves. Let them restart (restartDeadCodes), take fewer codes ' +
    '(n_embed) or fewer channels per code (embed_dim), raise codebook_weight, or lower the learning rate.'
  );
};

const latentsOffScale: Sign = (recent, health) => {
  const seen = columns(recent, health, 'latent_mean', 'latent_std');
  if (!seen) return null;
  const [mean, std] = [seen.latent_mean.mean, seen.latent_std.mean];
  if (std >= 0.1 && std <= 10 && Math.abs(mean) <= std) return null;
  return (
    `The latents are far from unit scale: mean ${show(mean)}, standard deviation ${show(std)} over ` +
    `${health.window} entries. Diffusion adds noise of deviation 1, which would drown or miss them. Train the ` +
    'diffusion model with the measured scale factor (scale_by_std), or raise kl_weight, which draws latents ' +
    'towards mean 0 and deviation 1.'
  );
};

const weightAtLimit: Sign = (recent, health) => {
  const { discWeight = 1 } = health.config;
  const limit = discWeight * largestAdaptiveWeight;
  const seen = columns(recent, health, 'd_weight', 'disc_factor');
  if (!seen || !(seen.disc_factor.min > 0 && limit > 0)) return null;
  if (seen.d_weight.min < 0.999 * limit) return null;
  return (
    `d_weight stands at its limit ${show(limit)} for ${health.window} entries: at the last layer the ` +
    "reconstruction's gradient is over ten thousand times the discriminator's. What the discriminator says is " +
    'mostly noise, or is lost beside the pixels. Some of this is usual with the KL loss just after disc_start, as ' +
    'that loss is a sum over pixels; if it lasts, look whether logits_real and logits_fake still move, and start ' +
    'the discriminator later or from new weights.'
  );
};

const signs: readonly Sign[] = [
  notFinite,
  discriminatorWins,
  discriminatorIsDead,
  codebookCollapsed,
  latentsOffScale,
  weightAtLimit,
];
