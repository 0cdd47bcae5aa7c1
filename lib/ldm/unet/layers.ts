/** What U-Nets are made of, resolution by resolution (paper, appendix E.2). */
import { checkpoint } from '../../autograd/index.js';
import { Conv2d, ModuleList, pipe } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { AttentionBlock } from './attention_block.js';
import { headsOf, type FullUNetConfig } from './config.js';
import type { Context } from './context.js';
import { Downsample, Upsample } from './resample.js';
import { ResBlock } from './res_block.js';
import { SpatialTransformer } from './transformer.js';

type StageLayer = ResBlock | AttentionBlock | SpatialTransformer | Conv2d | Downsample | Upsample;

/** Layers in a row; each gets what it needs of time embedding and context. */
export class Stage extends ModuleList<StageLayer> {
  constructor(
    layers: readonly StageLayer[],
    readonly recompute = false,
  ) {
    super([...layers]);
  }

  run(x: Tensor, emb: Tensor, context?: Context): Tensor {
    return pipe(x, this.steps(emb, context));
  }

  /** The layers as steps of a longer {@link pipe}, which gives up the stage's input as soon as it is read. */
  steps(emb: Tensor, context?: Context): ((x: Tensor) => Tensor)[] {
    return [...this].map((layer) => (h: Tensor) => this.#apply(layer, h, emb, context));
  }

  #apply(layer: StageLayer, h: Tensor, emb: Tensor, context?: Context): Tensor {
    if (layer instanceof ResBlock)
      return this.recompute
        ? checkpoint((a, b) => layer.forward(a, b), h, emb)
        : layer.forward(h, emb);
    if (layer instanceof SpatialTransformer) return layer.forward(h, context); // recomputes block by block
    if (layer instanceof AttentionBlock && this.recompute)
      return checkpoint((a) => layer.forward(a), h);
    return layer.forward(h);
  }
}

/** The way down and the middle, and what the way up must know of them. */
export interface DownPath {
  readonly down: Stage[];
  readonly middle: Stage;
  /** channels of each stage's map on the way down */
  readonly widths: readonly number[];
}

/** One stage per residual block and per halving. */
export function buildDown(config: FullUNetConfig): DownPath {
  const { modelChannels, channelMult, numResBlocks, convResample } = config;
  const make = makers(config);
  const down = [
    make.stage(new Conv2d(config.inChannels, modelChannels, { kernelSize: 3, padding: 1 })),
  ];
  const widths = [modelChannels];
  let width = modelChannels;
  channelMult.forEach((multiplier, l) => {
    for (let r = 0; r < numResBlocks; r++) {
      const to = multiplier * modelChannels;
      down.push(make.stage(make.resBlock(width, to), ...make.attentionAt(l, to, config.numHeads)));
      width = to;
      widths.push(width);
    }
    if (l === channelMult.length - 1) return;
    const halve = config.resblockUpdown
      ? make.resBlock(width, width, 'down')
      : new Downsample(width, convResample);
    down.push(make.stage(halve));
    widths.push(width);
  });
  const middle = make.stage(
    make.resBlock(width, width),
    make.attention(width, config.numHeads),
    make.resBlock(width, width),
  );
  return { down, middle, widths };
}

/** The way up; each stage also takes the map of the stage on the way down that mirrors it. */
export function buildUp(config: FullUNetConfig, widths: readonly number[]): Stage[] {
  const { modelChannels, channelMult, numResBlocks, convResample } = config;
  const make = makers(config);
  const skips = [...widths];
  const up: Stage[] = [];
  let width = skips[skips.length - 1];
  for (let l = channelMult.length - 1; l >= 0; l--) {
    for (let i = 0; i <= numResBlocks; i++) {
      const to = channelMult[l] * modelChannels;
      const layers: StageLayer[] = [
        make.resBlock(width + skips.pop()!, to),
        ...make.attentionAt(l, to, config.numHeadsUpsample),
      ];
      width = to;
      if (l > 0 && i === numResBlocks) {
        const double = config.resblockUpdown
          ? make.resBlock(width, width, 'up')
          : new Upsample(width, convResample);
        layers.push(double);
      }
      up.push(make.stage(...layers));
    }
  }
  return up;
}

function makers(config: FullUNetConfig) {
  const attention = (channels: number, heads: number) => makeAttention(channels, config, heads);
  return {
    stage: (...layers: StageLayer[]) => new Stage(layers, config.useCheckpoint),
    resBlock: (from: number, to: number, resample: 'up' | 'down' | 'none' = 'none') =>
      new ResBlock(from, 4 * config.modelChannels, {
        outChannels: to,
        dropout: config.dropout,
        useScaleShiftNorm: config.useScaleShiftNorm,
        normGroups: config.normGroups,
        resample,
      }),
    attention,
    attentionAt: (level: number, width: number, heads: number) =>
      config.attentionResolutions.includes(2 ** level) ? [attention(width, heads)] : [],
  };
}

function makeAttention(
  channels: number,
  config: FullUNetConfig,
  numHeads: number,
): AttentionBlock | SpatialTransformer {
  const { heads, headDim } = headsOf(channels, config, numHeads);
  if (!config.useSpatialTransformer) {
    const order = config.useNewAttentionOrder ? 'qkv-first' : 'heads-first';
    return new AttentionBlock(channels, { heads, order, normGroups: config.normGroups });
  }
  return new SpatialTransformer(channels, {
    heads,
    normGroups: config.normGroups,
    dimHead: headDim,
    depth: config.transformerDepth,
    contextDim: config.contextDim,
    useCheckpoint: config.useCheckpoint,
  });
}
