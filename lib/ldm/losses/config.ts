/** Options of the first stage's losses: the original's `lossconfig`. */
import { check } from '../../errors.js';
import { fromOriginal, type OriginalParams } from '../config.js';
import { checkOptions, flag, integer, number, oneOf, type Rules } from '../rules.js';
import { mostLayers } from './discriminator.js';

/** What both losses share. */
export interface AdversarialLossConfig {
  /** Optimizer cycle in which the discriminator joins. */
  discStart: number;
  /** Default 3. */
  discNumLayers?: number;
  /** Channels that the discriminator sees, those of a condition included. Default 3. */
  discInChannels?: number;
  /** Width of the discriminator's first layer. Default 64. */
  discNdf?: number;
  /** Weighs everything adversarial in both optimizers; 0 leaves it out. Default 1. */
  discFactor?: number;
  /** Multiplies the adaptive weight in the generator's loss. Default 1. */
  discWeight?: number;
  /** Weight of LPIPS; 0 does without its network. Default 1. */
  perceptualWeight?: number;
  /** ActNorm in the discriminator in place of batch norm. Default false. */
  useActnorm?: boolean;
  /** Whether the discriminator also sees `cond`, behind the image's channels. Default false. */
  discConditional?: boolean;
  /** Default `hinge`. */
  discLoss?: 'hinge' | 'vanilla';
  /**
   * Leaves the discriminator out of the generator's loss while it has no weight there (before `discStart`, or
   * with `discFactor` 0), and logs 0 for `g_loss` and `d_weight`. Losses and gradients are the same. The
   * discriminator's batch norm then sees fewer batches, which its running statistics show, but those count
   * in validation only; ActNorm starts from the first batch that does pass. Default false, as the original.
   */
  skipIdleDiscriminator?: boolean;
}

/** Options of {@link LPIPSWithDiscriminator}. */
export interface KlLossConfig extends AdversarialLossConfig {
  /** Start of the log-variance of the pixels. Default 0. */
  logvarInit?: number;
  /** Weight of the divergence, a sum over the latent's elements. Default 1; published models have 1e-6. */
  klWeight?: number;
}

/** Options of {@link VQLPIPSWithDiscriminator}. */
export interface VqLossConfig extends AdversarialLossConfig {
  /** Weight of the quantiser's loss. Default 1. */
  codebookWeight?: number;
  /** Distance of pixels: absolute or squared. Default `l1`. */
  pixelLoss?: 'l1' | 'l2';
  /** Size of the codebook, for the statistics of its use. */
  nClasses?: number;
}

/** A config with its defaults. */
export type Complete<C extends AdversarialLossConfig> = C & Required<AdversarialLossConfig>;

const weight = number(0);

const sharedRules: Rules<Required<AdversarialLossConfig>> = {
  discStart: number(0),
  discNumLayers: integer(1, mostLayers),
  discInChannels: integer(1, 4096),
  discNdf: integer(1, 65_536),
  discFactor: weight,
  discWeight: weight,
  perceptualWeight: weight,
  useActnorm: flag,
  discConditional: flag,
  discLoss: oneOf('hinge', 'vanilla'),
  skipIdleDiscriminator: flag,
};

const klLossRules: Rules<Required<KlLossConfig>> = {
  ...sharedRules,
  logvarInit: number(-100, 100),
  klWeight: weight,
};

const vqLossRules: Rules<Required<VqLossConfig>> = {
  ...sharedRules,
  codebookWeight: weight,
  pixelLoss: oneOf('l1', 'l2'),
  nClasses: integer(1, 2 ** 24),
};

/**
 * Checks a config and fills in the shared defaults. One config may serve both losses: each takes its own
 * options and lets the other's be.
 *
 * @throws ArgumentError for options that are unknown, missing or out of range
 */
export function complete<C extends AdversarialLossConfig>(what: string, config: C): Complete<C> {
  const rules = { ...klLossRules, ...vqLossRules };
  checkOptions<KlLossConfig & VqLossConfig>(what, config, rules, ['discStart']);
  const { discNumLayers = 3, discInChannels = 3, discNdf = 64 } = config;
  const { discFactor = 1, discWeight = 1, perceptualWeight = 1 } = config;
  const { useActnorm = false, discConditional = false, discLoss = 'hinge' } = config;
  return {
    ...config,
    discNumLayers,
    discInChannels,
    discNdf,
    discFactor,
    discWeight,
    perceptualWeight,
    useActnorm,
    discConditional,
    discLoss,
    skipIdleDiscriminator: config.skipIdleDiscriminator ?? false,
  };
}

// Accepted and without effect: the original reads this weight and never uses it.
const unused = ['pixelloss_weight'];

const names = <T>(rules: Rules<T>) => Object.keys(rules) as (keyof T & string)[];

/** `params` of the original's LPIPSWithDiscriminator. */
export function klLossConfig(params: OriginalParams): KlLossConfig {
  const what = 'LPIPSWithDiscriminator';
  return fromOriginal<Required<KlLossConfig>>(what, params, names(klLossRules), unused);
}

/** `params` of the original's VQLPIPSWithDiscriminator. */
export function vqLossConfig(params: OriginalParams): VqLossConfig {
  const what = 'VQLPIPSWithDiscriminator';
  const { perceptual_loss: perceptual = 'lpips', ...rest } = params;
  check(perceptual === null || perceptual === 'lpips', () => {
    return `${what}: perceptual_loss must be lpips, got ${JSON.stringify(perceptual)}`;
  });
  return fromOriginal<Required<VqLossConfig>>(what, rest, names(vqLossRules), unused);
}
