/** Architecture of a first stage: the original's `ddconfig` and what surrounds it. */
import { check } from '../../errors.js';
import { fromOriginal, type OriginalParams } from '../config.js';
import {
  checkOptions,
  either,
  flag,
  group,
  integer,
  list,
  number,
  oneOf,
  type Rules,
} from '../rules.js';
import type { CodebookEmaOptions, RestartOptions } from './codebook.js';
import type { QuantizerOptions } from './vector_quantizer.js';

/** `vanilla`: softmax attention; `linear`: linear attention (no residual, as the original has it). */
export type AttentionType = 'vanilla' | 'linear' | 'none';

/** Encoder and decoder of a first stage (paper, appendix E.2). */
export interface FirstStageConfig {
  /** base width */
  ch: number;
  /** channels of the reconstruction */
  outCh: number;
  /** width per level over the base width; each level but the last halves the image. Default 1, 2, 4, 8 */
  chMult?: readonly number[];
  numResBlocks: number;
  /** sides of the feature map, counted from `resolution`, at which attention is placed */
  attnResolutions?: readonly number[];
  dropout?: number;
  /** learned convolutions in up- and downsampling, default true */
  resampWithConv?: boolean;
  inChannels: number;
  /** nominal image side; other sizes run through the same layers */
  resolution: number;
  zChannels: number;
  /** whether the encoder gives mean and log-variance. Default true; in VQ models false */
  doubleZ?: boolean;
  useLinearAttn?: boolean;
  attnType?: AttentionType;
  /** stop the decoder before its last norm */
  givePreEnd?: boolean;
  tanhOut?: boolean;
  /** groups of every norm, default 32; widths must be divisible by it */
  normGroups?: number;
  /** recompute residual and attention blocks in the backward pass instead of keeping them, default false */
  useCheckpoint?: boolean;
}

export interface AutoencoderConfig {
  ddconfig: FirstStageConfig;
  /** channels of the latent */
  embedDim: number;
  /** channels of inputs that are no pictures, such as class maps, to show them in colour; see `toRgb` */
  colorizeNlabels?: number;
}

export interface VqConfig extends AutoencoderConfig, QuantizerOptions {
  /** number of codes */
  nEmbed: number;
}

/** Config with every default in place. */
export type FullFirstStageConfig = Required<FirstStageConfig>;

const defaultChMult: readonly number[] = [1, 2, 4, 8];

// Far beyond any use, and small enough that a config from a stranger cannot ask for an absurd network.
const channels = integer(1, 4096);
const width = integer(1, 65_536);
const codes = integer(1, 2 ** 24);

const ddconfigRules: Rules<FullFirstStageConfig> = {
  ch: width,
  outCh: channels,
  chMult: list(integer(1, 1024), 1, 16),
  numResBlocks: integer(0, 64),
  attnResolutions: list(integer(1, 2 ** 20), 0, 16),
  dropout: number(0, 1),
  resampWithConv: flag,
  inChannels: channels,
  resolution: integer(1, 2 ** 20),
  zChannels: channels,
  doubleZ: flag,
  useLinearAttn: flag,
  attnType: oneOf('vanilla', 'linear', 'none'),
  givePreEnd: flag,
  tanhOut: flag,
  normGroups: width,
  useCheckpoint: flag,
};

const autoencoderRules: Rules<Required<AutoencoderConfig>> = {
  ddconfig: group,
  embedDim: channels,
  colorizeNlabels: channels,
};

const vqRules: Rules<Required<VqConfig>> = {
  ...autoencoderRules,
  nEmbed: codes,
  beta: number(0),
  legacy: flag,
  saneIndexShape: flag,
  remap: list(integer(0, 2 ** 24 - 1), 1, 2 ** 24),
  unknownIndex: either(oneOf('random', 'extra'), integer(0, 2 ** 24)),
  codebookEma: group,
  restartDeadCodes: group,
};

const emaRules: Rules<Required<CodebookEmaOptions>> = { decay: number(0, 1), eps: number(0) };

const restartRules: Rules<RestartOptions> = { every: integer(1, 2 ** 31), minUses: number(0) };

/** Checks `ddconfig` and puts every default in place. @throws ArgumentError */
export function withDefaults(config: FirstStageConfig): FullFirstStageConfig {
  const required = [
    'ch',
    'outCh',
    'numResBlocks',
    'inChannels',
    'resolution',
    'zChannels',
  ] as const;
  checkOptions<FirstStageConfig>('first stage: ddconfig', config, ddconfigRules, required);
  const full: FullFirstStageConfig = {
    chMult: defaultChMult,
    attnResolutions: [],
    dropout: 0,
    resampWithConv: true,
    doubleZ: true,
    useLinearAttn: false,
    attnType: 'vanilla',
    givePreEnd: false,
    tanhOut: false,
    normGroups: 32,
    useCheckpoint: false,
    ...given(config),
  };
  if (full.useLinearAttn) full.attnType = 'linear';
  return full;
}

// An option that is present but undefined takes its default like one that is absent.
function given<T extends object>(config: T): T {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)) as T;
}

/** @throws ArgumentError for options that are unknown, missing or out of range */
export function checkAutoencoderConfig(config: unknown): asserts config is AutoencoderConfig {
  const what = 'AutoencoderKL';
  checkOptions<AutoencoderConfig>(what, config, autoencoderRules, ['ddconfig', 'embedDim']);
  const { doubleZ } = withDefaults(config.ddconfig);
  check(doubleZ, () => {
    return `${what}: ddconfig.doubleZ must be true: the encoder gives mean and log-variance.`;
  });
}

/** @throws ArgumentError for options that are unknown, missing or out of range */
export function checkVqConfig(config: unknown): asserts config is VqConfig {
  const what = 'VQModel';
  checkOptions<VqConfig>(what, config, vqRules, ['ddconfig', 'embedDim', 'nEmbed']);
  withDefaults(config.ddconfig);
  const { ddconfig, nEmbed, remap, unknownIndex, codebookEma, restartDeadCodes } = config;
  check(!ddconfig.doubleZ, () => {
    return `${what}: ddconfig.doubleZ must be false: there is no variance to encode.`;
  });
  const distinct = !remap || new Set(remap).size === remap.length;
  check(distinct && (!remap || remap.every((code) => code < nEmbed)), () => {
    return `${what}: remap must name distinct codes below nEmbed (${nEmbed}).`;
  });
  check(typeof unknownIndex !== 'number' || (remap && unknownIndex < remap.length), () => {
    return `${what}: unknownIndex must be one of the ${remap?.length ?? 0} positions in remap. Got ${unknownIndex}.`;
  });
  if (codebookEma) {
    checkOptions<CodebookEmaOptions>(`${what}: codebookEma`, codebookEma, emaRules, []);
  }
  if (restartDeadCodes) {
    const restart = `${what}: restartDeadCodes`;
    checkOptions<RestartOptions>(restart, restartDeadCodes, restartRules, ['every']);
  }
}

/** f: each level but the last halves the image. */
export function downsamplingOf({ chMult = defaultChMult }: FirstStageConfig): number {
  return 2 ** (chMult.length - 1);
}

const names = <T>(rules: Rules<T>) => Object.keys(rules) as (keyof T & string)[];

/** The original's `ddconfig`. */
export function firstStageConfig(params: OriginalParams): FirstStageConfig {
  return fromOriginal<FullFirstStageConfig>('first stage', params, names(ddconfigRules));
}

// what the original's models take beside the architecture: losses, files, logging, optimisation
const trainingParams = [
  'lossconfig',
  'ckpt_path',
  'ignore_keys',
  'image_key',
  'monitor',
  'scheduler_config',
  'lr_g_factor',
  'batch_resize_range',
  'use_ema',
];

/** `params` of the original's AutoencoderKL; what concerns training is left out. */
export function autoencoderConfig(params: OriginalParams): AutoencoderConfig {
  const { ddconfig, ...rest } = params;
  const known = names(autoencoderRules);
  const config = fromOriginal<AutoencoderConfig>('AutoencoderKL', rest, known, trainingParams);
  return { ...config, ddconfig: firstStageConfig(ddconfig as OriginalParams) };
}

/**
 * `params` of the original's VQModel and VQModelInterface; what concerns training is left out.
 *
 * @param params `remap` is a list of codes here, as a file's content. What the original's models lack
 *   (`beta`, `legacy`, `unknown_index`, `codebook_ema`, `restart_dead_codes`) may stand here too
 */
export function vqConfig(params: OriginalParams): VqConfig {
  const { ddconfig, ...rest } = params;
  check(typeof rest.remap !== 'string', () => {
    return `VQModel: remap names the file ${rest.remap as string}. Give its content: remap: await readCodeList(path).`;
  });
  const config = fromOriginal<Required<VqConfig>>('VQModel', rest, names(vqRules), trainingParams);
  const { codebookEma, restartDeadCodes, ...own } = config;
  const within = <T>(name: string, given: T | undefined, rules: Rules<Required<T>>) =>
    given && {
      [name]: fromOriginal<Required<T> & object>(name, given as OriginalParams, names(rules)),
    };
  return {
    ...own,
    ...within<CodebookEmaOptions>('codebookEma', codebookEma, emaRules),
    ...within<RestartOptions>('restartDeadCodes', restartDeadCodes, restartRules),
    ddconfig: firstStageConfig(ddconfig as OriginalParams),
  };
}
