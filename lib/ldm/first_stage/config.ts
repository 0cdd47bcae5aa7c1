/** Architecture of a first stage: the original's `ddconfig` and what surrounds it. */
import { check } from '../../errors.js';
import { fromOriginal, type OriginalParams } from '../config.js';
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
  /** whether the encoder gives mean and log-variance, default true */
  doubleZ?: boolean;
  useLinearAttn?: boolean;
  attnType?: AttentionType;
  /** stop the decoder before its last norm */
  givePreEnd?: boolean;
  tanhOut?: boolean;
  /** groups of every norm, default 32; widths must be divisible by it */
  normGroups?: number;
}

export interface AutoencoderConfig {
  ddconfig: FirstStageConfig;
  /** channels of the latent */
  embedDim: number;
}

export interface VqConfig extends AutoencoderConfig, QuantizerOptions {
  /** number of codes */
  nEmbed: number;
}

const defaultChMult: readonly number[] = [1, 2, 4, 8];

/** Config with every default in place. */
export type FullFirstStageConfig = Required<FirstStageConfig>;

export function withDefaults(config: FirstStageConfig): FullFirstStageConfig {
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
    ...config,
  };
  if (full.useLinearAttn) full.attnType = 'linear';
  check(full.chMult.length > 0, () => 'first stage: chMult must name at least one level. Got [].');
  return full;
}

/** f: each level but the last halves the image. */
export function downsamplingOf({ chMult }: FirstStageConfig): number {
  return 2 ** ((chMult ?? defaultChMult).length - 1);
}

const ddconfigNames: readonly (keyof FirstStageConfig)[] = [
  'ch',
  'outCh',
  'chMult',
  'numResBlocks',
  'attnResolutions',
  'dropout',
  'resampWithConv',
  'inChannels',
  'resolution',
  'zChannels',
  'doubleZ',
  'useLinearAttn',
  'attnType',
  'givePreEnd',
  'tanhOut',
  'normGroups',
];

/** The original's `ddconfig`. */
export function firstStageConfig(params: OriginalParams): FirstStageConfig {
  return fromOriginal<FirstStageConfig>('first stage', params, ddconfigNames);
}

// what the original's models take beside the architecture: losses, files, logging
const trainingParams = [
  'lossconfig',
  'ckpt_path',
  'ignore_keys',
  'image_key',
  'colorize_nlabels',
  'monitor',
  'scheduler_config',
  'lr_g_factor',
  'batch_resize_range',
];

/** `params` of the original's AutoencoderKL; what concerns training is left out. */
export function autoencoderConfig(params: OriginalParams): AutoencoderConfig {
  const { ddconfig, ...rest } = params;
  const config = fromOriginal<AutoencoderConfig>(
    'AutoencoderKL',
    rest,
    ['embedDim'],
    trainingParams,
  );
  return { ...config, ddconfig: firstStageConfig(ddconfig as OriginalParams) };
}

/** `params` of the original's VQModel and VQModelInterface. */
export function vqConfig(params: OriginalParams): VqConfig {
  const { ddconfig, ...rest } = params;
  const config = fromOriginal<VqConfig>('VQModel', rest, ['embedDim', 'nEmbed'], trainingParams);
  return { ...config, ddconfig: firstStageConfig(ddconfig as OriginalParams) };
}
