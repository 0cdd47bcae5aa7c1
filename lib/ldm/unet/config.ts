/** Architecture of the diffusion model's network (paper, appendix E.2). */
import { check } from '../../errors.js';
import { fromOriginal, type OriginalParams } from '../config.js';

export interface UNetConfig {
  /** side of the latent; informative */
  imageSize?: number;
  /** channels of the noisy latent and of conditioning concatenated to it */
  inChannels: number;
  outChannels: number;
  /** base width */
  modelChannels: number;
  numResBlocks: number;
  /** downsampling factors (1, 2, 4, ...) at which attention is placed, besides the middle */
  attentionResolutions: readonly number[];
  dropout?: number;
  /** width per level over the base width, first 1. Default 1, 2, 4, 8 */
  channelMult?: readonly number[];
  /** learned convolutions in up- and downsampling, default true */
  convResample?: boolean;
  /** adds a learned embedding of a class to the time embedding */
  numClasses?: number;
  /** recompute residual and attention blocks in the backward pass instead of keeping them */
  useCheckpoint?: boolean;
  /** one of numHeads and numHeadChannels is needed */
  numHeads?: number;
  numHeadChannels?: number;
  /** heads of attention blocks on the way up, default numHeads; without effect unless `legacy` */
  numHeadsUpsample?: number;
  /** the time embedding scales and shifts the norm instead of being added */
  useScaleShiftNorm?: boolean;
  /** residual blocks do the up- and downsampling */
  resblockUpdown?: boolean;
  /** order of the attention blocks' channels: [q, k, v] outermost instead of heads */
  useNewAttentionOrder?: boolean;
  /** attention with a context instead of attention blocks */
  useSpatialTransformer?: boolean;
  transformerDepth?: number;
  /** groups of every group norm, default 32; networks of few channels want fewer */
  normGroups?: number;
  /** width of the context tokens */
  contextDim?: number;
  /** predict codebook indices: logits over that many codes */
  nEmbed?: number;
  /** the original's rule for head widths where width and heads do not divide, default true */
  legacy?: boolean;
}

export type FullUNetConfig = Required<UNetConfig>;

/** Config with every default in place; 0 stands for "not set". */
export function withDefaults(config: UNetConfig): FullUNetConfig {
  const full: FullUNetConfig = {
    imageSize: 0,
    dropout: 0,
    channelMult: [1, 2, 4, 8],
    convResample: true,
    numClasses: 0,
    useCheckpoint: false,
    numHeads: 0,
    numHeadChannels: 0,
    numHeadsUpsample: 0,
    useScaleShiftNorm: false,
    resblockUpdown: false,
    useNewAttentionOrder: false,
    useSpatialTransformer: false,
    transformerDepth: 1,
    normGroups: 32,
    contextDim: 0,
    nEmbed: 0,
    legacy: true,
    // An option that is given as undefined is not given.
    ...(Object.fromEntries(
      Object.entries(config).filter(([, value]) => value !== undefined),
    ) as unknown as UNetConfig),
  };
  // The original writes -1 for "not set", and hands what is set to its attention blocks alone, which without
  // `legacy` go by the width of the heads on the way down.
  if (full.numHeadsUpsample <= 0 || full.useSpatialTransformer || !full.legacy)
    full.numHeadsUpsample = full.numHeads;
  const set = { numHeads: full.numHeads, numHeadChannels: full.numHeadChannels };
  check(full.numHeads > 0 || full.numHeadChannels > 0, () => {
    return `UNetModel: give numHeads or numHeadChannels. Got ${JSON.stringify(set)}.`;
  });
  check(full.channelMult[0] === 1, () => {
    return (
      `UNetModel: channelMult must start with 1, because the last layer works on the base width. ` +
      `Got [${full.channelMult.join(', ')}].`
    );
  });
  check(full.useSpatialTransformer === full.contextDim > 0, () => {
    return (
      `UNetModel: useSpatialTransformer and contextDim belong together. ` +
      `Got ${full.useSpatialTransformer} and ${full.contextDim || 'none'}.`
    );
  });
  return full;
}

/** Heads and their width in a block of `channels`, when `numHeads` applies to that half. */
export function headsOf(
  channels: number,
  config: FullUNetConfig,
  numHeads: number,
): { heads: number; headDim: number } {
  if (config.numHeadChannels <= 0) {
    return { heads: numHeads, headDim: Math.floor(channels / numHeads) };
  }
  const heads = Math.floor(channels / config.numHeadChannels);
  const derived = config.legacy && config.useSpatialTransformer;
  return { heads, headDim: derived ? Math.floor(channels / heads) : config.numHeadChannels };
}

/** @internal What the original's `params` may name. */
export const unetNames: readonly (keyof UNetConfig)[] = [
  'imageSize',
  'inChannels',
  'outChannels',
  'modelChannels',
  'numResBlocks',
  'attentionResolutions',
  'dropout',
  'channelMult',
  'convResample',
  'numClasses',
  'useCheckpoint',
  'numHeads',
  'numHeadChannels',
  'numHeadsUpsample',
  'useScaleShiftNorm',
  'resblockUpdown',
  'useNewAttentionOrder',
  'useSpatialTransformer',
  'transformerDepth',
  'contextDim',
  'nEmbed',
  'legacy',
];

/** The original's `params` of UNetModel. */
export function unetConfig(params: OriginalParams): UNetConfig {
  const { dims = 2, ...rest } = params;
  check(dims === 2, () => `UNetModel: only dims: 2 is supported. Got ${String(dims)}.`);
  // use_fp16 never worked in the original: precision is the caller's choice here
  const config = fromOriginal<UNetConfig>('UNetModel', rest, unetNames, ['use_fp16']);
  const contextDim = config.contextDim as number | readonly number[] | undefined;
  return Array.isArray(contextDim) ? { ...config, contextDim: contextDim[0] as number } : config;
}
