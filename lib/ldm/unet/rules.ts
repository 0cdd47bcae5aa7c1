/** Checks of U-Net configs that come from outside. */
import { check } from '../../errors.js';
import { checkOptions, flag, integer, list, number, oneOf, type Rules } from '../rules.js';
import { withDefaults, type UNetConfig } from './config.js';
import type { EncoderUNetConfig } from './encoder_unet.js';

// Far beyond any use, and small enough that a config from a stranger cannot ask for an absurd network.
const width = integer(1, 65_536);
// the original writes -1 for "not set"
const optionalWidth = integer(-1, 65_536);

const rules: Rules<Required<UNetConfig>> = {
  imageSize: integer(0, 2 ** 20),
  inChannels: width,
  outChannels: width,
  modelChannels: width,
  numResBlocks: integer(0, 64),
  attentionResolutions: list(integer(1, 2 ** 20), 0, 32),
  dropout: number(0, 1),
  channelMult: list(integer(1, 1024), 1, 16),
  convResample: flag,
  numClasses: integer(0, 2 ** 24),
  useCheckpoint: flag,
  numHeads: optionalWidth,
  numHeadChannels: optionalWidth,
  numHeadsUpsample: optionalWidth,
  useScaleShiftNorm: flag,
  resblockUpdown: flag,
  useNewAttentionOrder: flag,
  useSpatialTransformer: flag,
  transformerDepth: integer(1, 64),
  normGroups: width,
  contextDim: integer(0, 65_536),
  nEmbed: integer(0, 2 ** 24),
  legacy: flag,
};

/** @throws ArgumentError for options that are unknown, missing, out of range or do not go together */
export function checkUNetConfig(config: unknown): asserts config is UNetConfig {
  const what = 'UNetModel';
  checkOptions<UNetConfig>(what, config, rules, [
    'inChannels',
    'outChannels',
    'modelChannels',
    'numResBlocks',
    'attentionResolutions',
  ]);
  const { modelChannels, channelMult, normGroups } = withDefaults(config);
  const odd = channelMult.find((multiplier) => (multiplier * modelChannels) % normGroups !== 0);
  check(odd === undefined, () => {
    return `${what}: widths must be divisible by normGroups (${normGroups}). Got ${odd! * modelChannels}.`;
  });
}

const pools = oneOf('adaptive', 'attention', 'spatial', 'spatial_v2');

/** @throws ArgumentError as {@link checkUNetConfig}, and for a pool that does not exist */
export function checkEncoderUNetConfig(config: unknown): asserts config is EncoderUNetConfig {
  const { pool, ...network } = (config ?? {}) as Partial<EncoderUNetConfig>;
  check(pool === undefined || pools.accepts(pool), () => {
    return `EncoderUNetModel: pool must be ${pools.expected}. Got ${String(pool)}.`;
  });
  // one head where nothing is said
  checkUNetConfig({ numHeads: 1, ...network });
}
