/**
 * The U-Net's way down with a head: a classifier of noisy latents (paper, appendix C; Dhariwal & Nichol,
 * section 4).
 */
import {
  GroupNorm,
  Linear,
  Module,
  ModuleList,
  normal_,
  parameter,
  zeroModule,
} from '../../nn/index.js';
import { check, checkShape } from '../../errors.js';
import { attention, concat, relu, silu, timestepEmbedding } from '../../ops/index.js';
import { empty, type Tensor } from '../../tensor.js';
import { fromOriginal, type OriginalParams } from '../config.js';
import { unetNames, withDefaults, type FullUNetConfig, type UNetConfig } from './config.js';
import { buildDown, type Stage } from './layers.js';

/**
 * What becomes of the last map. `adaptive`: its mean; `attention`: attention of its mean over its positions;
 * `spatial` and `spatial_v2`: the means of every stage's map, and two layers.
 */
export type EncoderPool = 'adaptive' | 'attention' | 'spatial' | 'spatial_v2';

export interface EncoderUNetConfig extends Omit<
  UNetConfig,
  'useSpatialTransformer' | 'contextDim' | 'transformerDepth' | 'numClasses' | 'nEmbed'
> {
  /** default 'adaptive' */
  pool?: EncoderPool;
}

const pooledWidth = 2048;

/** Noisy latents [N, H, W, inChannels] at timesteps [N] to logits [N, outChannels]. */
export class EncoderUNetModel extends Module<[Tensor, Tensor], Tensor> {
  readonly time_embed: { 0: Linear; 2: Linear };
  readonly input_blocks: ModuleList<Stage>;
  readonly middle_block: Stage;
  readonly out: Record<number, Module>;
  readonly #config: FullUNetConfig;
  readonly #pool: EncoderPool;

  constructor(readonly config: EncoderUNetConfig) {
    super();
    const { pool = 'adaptive', ...rest } = config;
    const full = withDefaults({
      ...rest,
      numHeads: rest.numHeads ?? (rest.numHeadChannels ? 0 : 1),
    });
    this.#config = full;
    this.#pool = pool;
    const width = full.modelChannels;
    this.time_embed = { 0: new Linear(width, 4 * width), 2: new Linear(4 * width, 4 * width) };
    const { down, middle, widths } = buildDown(full);
    this.input_blocks = new ModuleList(down);
    this.middle_block = middle;
    this.out = makeHead(pool, full, widths);
  }

  /** @param x sides divisible by 2^(levels - 1); with 'attention' of the configured size */
  forward(x: Tensor, t: Tensor): Tensor {
    const { inChannels, modelChannels } = this.#config;
    checkShape(
      x.rank === 4 && x.shape[3] === inChannels && t.rank === 1 && t.shape[0] === x.shape[0],
      () => {
        return (
          `EncoderUNetModel: x must be [N, H, W, ${inChannels}] and t [N]. ` +
          `Got [${x.shape.join(', ')}] and [${t.shape.join(', ')}].`
        );
      },
    );
    const time = timestepEmbedding(t, modelChannels).to(x.dtype);
    const emb = this.time_embed[2].forward(
      this.time_embed[0].forward(time, { activation: 'silu' }),
    );
    const spatial = this.#pool.startsWith('spatial');
    const means: Tensor[] = [];
    let h = x;
    for (const stage of [...this.input_blocks, this.middle_block]) {
      h = stage.run(h, emb);
      if (spatial) means.push(h.mean([1, 2]));
    }
    return this.#head(spatial ? concat(means, 1) : h);
  }

  #head(h: Tensor): Tensor {
    const { out } = this;
    switch (this.#pool) {
      case 'adaptive':
        return (out[3] as Linear).forward((out[0] as GroupNorm).forward(h).mean([1, 2]));
      case 'attention':
        return (out[2] as AttentionPool2d).forward((out[0] as GroupNorm).forward(h));
      case 'spatial':
        return (out[2] as Linear).forward(relu((out[0] as Linear).forward(h)));
      case 'spatial_v2': {
        const normed = (out[1] as GroupNorm).forward((out[0] as Linear).forward(h));
        return (out[3] as Linear).forward(silu(normed));
      }
    }
  }
}

// Activations, means and flattening have places of their own in the original's numbering.
function makeHead(
  pool: EncoderPool,
  config: FullUNetConfig,
  widths: readonly number[],
): Record<number, Module> {
  const { normGroups, outChannels, numHeadChannels, imageSize, channelMult } = config;
  const width = widths[widths.length - 1];
  const norm = () => new GroupNorm(normGroups, width, { activation: 'silu' });
  switch (pool) {
    case 'adaptive':
      return { 0: norm(), 3: zeroModule(new Linear(width, outChannels, { storedAs: 'conv2d' })) };
    case 'attention': {
      check(numHeadChannels > 0 && imageSize > 0, () => {
        return `EncoderUNetModel: pool 'attention' needs numHeadChannels and imageSize. Got ${numHeadChannels} and ${imageSize}.`;
      });
      const side = Math.floor(imageSize / 2 ** (channelMult.length - 1));
      return { 0: norm(), 2: new AttentionPool2d(side, width, numHeadChannels, outChannels) };
    }
    case 'spatial':
    case 'spatial_v2': {
      const all = widths.reduce((sum, each) => sum + each, width);
      const first = new Linear(all, pooledWidth);
      return pool === 'spatial'
        ? { 0: first, 2: new Linear(pooledWidth, outChannels) }
        : { 0: first, 1: new GroupNorm(32, pooledWidth), 3: new Linear(pooledWidth, outChannels) };
    }
    default:
      throw new TypeError(
        `EncoderUNetModel: unknown pool '${String(pool satisfies never)}'. ` +
          'Known are adaptive, attention, spatial and spatial_v2.',
      );
  }
}

/** The mean of a map attends to its positions and to itself (Radford et al., "CLIP", section 2.4). */
export class AttentionPool2d extends Module<[Tensor], Tensor> {
  readonly positional_embedding: Tensor; // [C, side² + 1]
  readonly qkv_proj: Linear;
  readonly c_proj: Linear;
  readonly #heads: number;

  constructor(
    readonly side: number,
    channels: number,
    headChannels: number,
    outChannels = channels,
  ) {
    super();
    check(channels % headChannels === 0, () => {
      return `AttentionPool2d: channels (${channels}) must be divisible by the heads' width (${headChannels}).`;
    });
    const embedding = normal_(empty([channels, side ** 2 + 1]), 0, 1 / Math.sqrt(channels));
    this.positional_embedding = parameter(embedding);
    this.qkv_proj = new Linear(channels, 3 * channels, { storedAs: 'conv1d' });
    this.c_proj = new Linear(channels, outChannels, { storedAs: 'conv1d' });
    this.#heads = channels / headChannels;
  }

  /** @param x [N, side, side, C] → [N, outChannels] */
  forward(x: Tensor): Tensor {
    const [N, H, W, C] = x.shape;
    checkShape(H === this.side && W === this.side, () => {
      return `AttentionPool2d: the map must be ${this.side} by ${this.side}. Got [${x.shape.join(', ')}].`;
    });
    const T = H * W + 1;
    const positions = x.reshape([N, H * W, C]);
    const tokens = concat([positions.mean(1, { keepDims: true }), positions], 1);
    const placed = tokens.add(this.positional_embedding.transpose(0, 1).to(x.dtype)); // [N, T, C]
    const K = this.#heads;
    const [q, k, v] = this.qkv_proj
      .forward(placed)
      .chunk(3, 2)
      .map((part) => part.reshape([N, T, K, C / K]));
    const mean = attention(q.narrow(1, 0, 1), k, v).reshape([N, C]);
    return this.c_proj.forward(mean);
  }
}

/** The original's `params` of EncoderUNetModel. */
export function encoderUnetConfig(params: OriginalParams): EncoderUNetConfig {
  // it is built from a diffusion model's own parameters, of which it has no use for these
  const ignored = [
    'use_fp16',
    'dims',
    'use_spatial_transformer',
    'context_dim',
    'transformer_depth',
  ];
  const others = ['num_classes', 'n_embed', 'legacy'];
  return fromOriginal<EncoderUNetConfig>(
    'EncoderUNetModel',
    params,
    [...unetNames, 'pool'] as (keyof EncoderUNetConfig)[],
    [...ignored, ...others],
  );
}
