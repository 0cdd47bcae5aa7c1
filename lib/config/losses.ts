// The original's first-stage losses as targets. Their perceptual network has weights of its own, which
// people fetch themselves: a configuration names the files.
import { check } from '../errors.js';
import {
  LPIPSWithDiscriminator,
  VQLPIPSWithDiscriminator,
  type AdversarialLossConfig,
  type KlLossConfig,
  type VqLossConfig,
} from '../ldm/index.js';
import { withPrefix, type StateReader } from '../io/index.js';
import { loadLpips, Lpips, type LpipsFiles } from '../metrics/lpips.js';
import type { Module } from '../nn/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  convert,
  integer,
  mapping,
  number,
  oneOf,
  optional,
  text,
  type Field,
  type FieldsOf,
} from './fields.js';
import { Targets, type Instance } from './targets.js';

/** A loss as plain data. */
export type LossSpec =
  | { kind: 'kl'; config: KlLossConfig; perceptual?: LpipsFiles }
  | { kind: 'vq'; config: VqLossConfig; perceptual?: LpipsFiles }
  | { kind: 'none' };

/** A loss with its networks; null for none. */
export type FirstStageLoss = LPIPSWithDiscriminator | VQLPIPSWithDiscriminator | null;

/** What a loss takes from the model that it trains. */
export interface LossContext {
  /** size of the codebook, for the statistics of VQ losses */
  codes?: number;
  /** weights to begin with, as a checkpoint has them below `loss.`: what fits is taken */
  weights?: StateReader;
}

export type LossInstance = Instance<LossSpec, Promise<FirstStageLoss>, [context?: LossContext]>;

/** What may stand as `lossconfig`. */
export const lossTargets = new Targets<LossSpec, Promise<FirstStageLoss>, [context?: LossContext]>(
  'a loss',
);

const weight = number({ min: 0 });

/** `params` beyond the loss's own config. */
interface Beside {
  /** files of the perceptual network: VGG16, and the learnt layers of LPIPS */
  vgg?: string;
  heads?: string;
}

// The original reads this weight and never uses it.
const unused = ['pixelloss_weight'];

const shared: FieldsOf<AdversarialLossConfig & Beside> = {
  disc_start: integer({ min: 0 }),
  disc_num_layers: optional(integer({ min: 1, max: 16 })),
  disc_in_channels: optional(integer({ min: 1 })),
  disc_ndf: optional(integer({ min: 1 })),
  disc_factor: optional(weight),
  disc_weight: optional(weight),
  perceptual_weight: optional(weight),
  use_actnorm: optional(boolean),
  disc_conditional: optional(boolean),
  disc_loss: optional(oneOf('hinge', 'vanilla')),
  skip_idle_discriminator: optional(boolean),
  vgg: optional(text),
  heads: optional(text),
};

lossTargets.register(
  [
    'ldm.modules.losses.LPIPSWithDiscriminator',
    'ldm.modules.losses.contperceptual.LPIPSWithDiscriminator',
    'emulsion.LPIPSWithDiscriminator',
  ],
  {
    params: withFiles(
      mapping<KlLossConfig & Beside>(
        { ...shared, logvar_init: optional(number()), kl_weight: optional(weight) },
        unused,
      ),
      (config, perceptual) => ({ kind: 'kl' as const, config, perceptual }),
    ),
    async build({ config, perceptual: files }, { weights } = {}) {
      const perceptual = await perceptualNetwork(config, files, weights);
      return filled(new LPIPSWithDiscriminator(config, { perceptual }), weights);
    },
  },
);

lossTargets.register(
  [
    'taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator',
    'ldm.modules.losses.vqperceptual.VQLPIPSWithDiscriminator',
    'emulsion.VQLPIPSWithDiscriminator',
  ],
  {
    params: withFiles(
      mapping<VqLossConfig & Beside & { perceptualLoss?: string }>(
        {
          ...shared,
          codebook_weight: optional(weight),
          pixel_loss: optional(oneOf('l1', 'l2')),
          n_classes: optional(integer({ min: 1 })),
          perceptual_loss: optional(oneOf('lpips')),
        },
        unused,
      ),
      ({ perceptualLoss: _, ...config }, perceptual) => ({
        kind: 'vq' as const,
        config,
        perceptual,
      }),
    ),
    async build({ config, perceptual: files }, { codes: nClasses, weights } = {}) {
      const perceptual = await perceptualNetwork(config, files, weights);
      return filled(new VQLPIPSWithDiscriminator({ nClasses, ...config }, { perceptual }), weights);
    },
  },
);

// What published files name as the loss of a first stage that is used, not trained.
lossTargets.register(
  [
    'torch.nn.Identity',
    'ldm.modules.losses.contperceptual.DummyLoss',
    'taming.modules.losses.vqperceptual.DummyLoss',
  ],
  {
    // Their arguments mean nothing, and published files give some.
    params: { read: () => ({ kind: 'none' as const }) },
    build: () => Promise.resolve(null),
  },
);

// The files of the perceptual network are needed exactly when it has a weight.
function withFiles<C extends AdversarialLossConfig & Beside, S>(
  params: Field<C>,
  make: (config: Omit<C, keyof Beside>, perceptual: LpipsFiles | undefined) => S,
): Field<S> {
  return convert(params, ({ vgg, heads, ...config }, node) => {
    if ((vgg === undefined) !== (heads === undefined))
      throw new ConfigError(
        'the perceptual network has two files: give both vgg and heads.',
        node.place,
      );
    const files = vgg !== undefined && heads !== undefined && config.perceptualWeight !== 0;
    return make(config, files ? { vgg, heads } : undefined);
  });
}

/** Where a first stage's checkpoint keeps LPIPS, below `loss.`. */
const perceptualPrefix = 'perceptual_loss.';

// From its files, or from the checkpoint that training begins with, which has all of the loss.
async function perceptualNetwork(
  { perceptualWeight = 1 }: AdversarialLossConfig,
  files: LpipsFiles | undefined,
  weights: StateReader | undefined,
): Promise<Lpips | undefined> {
  if (perceptualWeight === 0) return undefined;
  if (files) return loadLpips(files);
  check(
    weights?.keys.some((key) => key.startsWith(perceptualPrefix)),
    () => {
      return (
        `lossconfig: perceptual_weight ${perceptualWeight} needs the weights of LPIPS. Give their files as vgg and ` +
        'heads in the params of lossconfig, begin with a checkpoint that holds them (ckpt_path), or set ' +
        'perceptual_weight to 0.'
      );
    },
  );
  const network = new Lpips().eval();
  await network.importState(withPrefix(weights!, perceptualPrefix));
  return network;
}

async function filled<Loss extends Module>(loss: Loss, weights?: StateReader): Promise<Loss> {
  if (weights) await loss.importState(weights, { strict: false });
  return loss;
}
