/** Cross-attention to a context and the transformer around it (paper, section 3.3 and appendix E.2.1). */
import { attention } from '../../ops/index.js';
import {
  Dropout,
  GroupNorm,
  LayerNorm,
  Linear,
  Module,
  ModuleList,
  zeroModule,
} from '../../nn/index.js';
import { checkpoint } from '../../autograd/index.js';
import type { Tensor } from '../../tensor.js';
import { PreparedContext, type Context, type KeysAndValues } from './context.js';

export interface CrossAttentionOptions {
  /** width of the context, default that of the queries */
  contextDim?: number;
  heads?: number;
  dimHead?: number;
  dropout?: number;
}

export interface CrossAttentionInputs {
  /** [N, S, contextDim], or what was prepared of it; x itself when missing */
  context?: Context;
  /** [N, S], bool: keys to use */
  mask?: Tensor;
  /** [N, T, queryDim], added to the result */
  residual?: Tensor;
}

/** softmax(Q Kᵀ / √d) V with queries from x, keys and values from the context. */
export class CrossAttention extends Module<[Tensor, CrossAttentionInputs?], Tensor> {
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: { 0: Linear; 1: Dropout };
  readonly #heads: number;
  readonly #dimHead: number;

  constructor(queryDim: number, options: CrossAttentionOptions = {}) {
    super();
    const { contextDim = queryDim, heads = 8, dimHead = 64, dropout = 0 } = options;
    const inner = heads * dimHead;
    this.to_q = new Linear(queryDim, inner, { bias: false });
    this.to_k = new Linear(contextDim, inner, { bias: false });
    this.to_v = new Linear(contextDim, inner, { bias: false });
    this.to_out = { 0: new Linear(inner, queryDim), 1: new Dropout(dropout) };
    this.#heads = heads;
    this.#dimHead = dimHead;
  }

  /** @param x [N, T, queryDim] */
  forward(x: Tensor, { context = x, mask, residual }: CrossAttentionInputs = {}): Tensor {
    const [N, T] = x.shape;
    const [K, D] = [this.#heads, this.#dimHead];
    const q = this.to_q.forward(x).reshape([N, T, K, D]);
    const { keys, values } =
      context instanceof PreparedContext ? context.of(this) : this.project(context);
    const mixed = attention(q, keys, values, { mask }).reshape([N, T, K * D]);
    return lastLayer(mixed, this.to_out[0], this.to_out[1], residual);
  }

  /** Keys and values of a context [N, S, contextDim]: all that this layer reads of it. */
  project(context: Tensor): KeysAndValues {
    const [N, S] = context.shape;
    const heads = [N, S, this.#heads, this.#dimHead];
    return {
      keys: this.to_k.forward(context).reshape(heads),
      values: this.to_v.forward(context).reshape(heads),
    };
  }
}

// dropout(W x + b) + residual, in one pass where nothing is dropped
function lastLayer(x: Tensor, layer: Linear, dropout: Dropout, residual?: Tensor): Tensor {
  if (dropout.p === 0 || !dropout.training) return layer.forward(x, { residual });
  const dropped = dropout.forward(layer.forward(x));
  return residual ? residual.add(dropped) : dropped;
}

/** A linear layer whose output is half value, half gate: value · gelu(gate). */
export class GEGLU extends Module<[Tensor], Tensor> {
  readonly proj: Linear;

  constructor(dimIn: number, dimOut: number) {
    super();
    this.proj = new Linear(dimIn, 2 * dimOut);
  }

  forward(x: Tensor): Tensor {
    return this.proj.forward(x, { activation: 'geglu' });
  }
}

export interface FeedForwardOptions {
  dimOut?: number;
  /** inner width over the outer one, default 4 */
  mult?: number;
  /** GEGLU instead of a linear layer and GELU */
  glu?: boolean;
  dropout?: number;
}

/** Widen, activate, narrow. */
export class FeedForward extends Module<[Tensor, Tensor?], Tensor> {
  readonly net: { 0: GEGLU | { 0: Linear }; 1: Dropout; 2: Linear };

  constructor(dim: number, options: FeedForwardOptions = {}) {
    super();
    const { dimOut = dim, mult = 4, glu = false, dropout = 0 } = options;
    const inner = Math.floor(dim * mult);
    this.net = {
      0: glu ? new GEGLU(dim, inner) : { 0: new Linear(dim, inner) },
      1: new Dropout(dropout),
      2: new Linear(inner, dimOut),
    };
  }

  /** @param residual [..., dimOut], added to the result */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const [first, dropout, last] = [this.net[0], this.net[1], this.net[2]];
    const hidden =
      first instanceof GEGLU ? first.forward(x) : first[0].forward(x, { activation: 'gelu' });
    return last.forward(dropout.forward(hidden), { residual });
  }
}

export interface TransformerBlockOptions {
  contextDim?: number;
  dropout?: number;
  /** default true: GEGLU in the feed-forward part */
  gatedFf?: boolean;
}

/** Self-attention, cross-attention, feed-forward; each after a layer norm and with a residual. */
export class BasicTransformerBlock extends Module<[Tensor, Context?], Tensor> {
  readonly attn1: CrossAttention;
  readonly ff: FeedForward;
  readonly attn2: CrossAttention;
  readonly norm1: LayerNorm;
  readonly norm2: LayerNorm;
  readonly norm3: LayerNorm;

  constructor(dim: number, heads: number, dimHead: number, options: TransformerBlockOptions = {}) {
    super();
    const { contextDim, dropout, gatedFf = true } = options;
    this.attn1 = new CrossAttention(dim, { heads, dimHead, dropout });
    this.ff = new FeedForward(dim, { dropout, glu: gatedFf });
    this.attn2 = new CrossAttention(dim, { contextDim, heads, dimHead, dropout });
    this.norm1 = new LayerNorm(dim);
    this.norm2 = new LayerNorm(dim);
    this.norm3 = new LayerNorm(dim);
  }

  /** Without a context the second attention is self-attention too. */
  forward(x: Tensor, context?: Context): Tensor {
    const self = this.attn1.forward(this.norm1.forward(x), { residual: x });
    const cross = this.attn2.forward(this.norm2.forward(self), { context, residual: self });
    return this.ff.forward(this.norm3.forward(cross), cross);
  }
}

export interface SpatialTransformerOptions extends TransformerBlockOptions {
  heads: number;
  dimHead: number;
  /** number of transformer blocks, default 1 */
  depth?: number;
  /** default 32 */
  normGroups?: number;
  /** recompute the blocks in the backward pass */
  useCheckpoint?: boolean;
}

/** Transformer blocks over the positions of a map, which become tokens by a free reshape. */
export class SpatialTransformer extends Module<[Tensor, Context?], Tensor> {
  readonly norm: GroupNorm;
  readonly proj_in: Linear;
  readonly transformer_blocks: ModuleList<BasicTransformerBlock>;
  readonly proj_out: Linear;
  readonly #checkpoint: boolean;

  constructor(channels: number, options: SpatialTransformerOptions) {
    super();
    const { heads, dimHead, depth = 1, normGroups = 32, useCheckpoint = false, ...block } = options;
    const inner = heads * dimHead;
    this.norm = new GroupNorm(normGroups, channels, { eps: 1e-6 });
    this.proj_in = new Linear(channels, inner, { storedAs: 'conv2d' });
    this.transformer_blocks = new ModuleList(
      Array.from({ length: depth }, () => new BasicTransformerBlock(inner, heads, dimHead, block)),
    );
    this.proj_out = zeroModule(new Linear(inner, channels, { storedAs: 'conv2d' }));
    this.#checkpoint = useCheckpoint;
  }

  /**
   * @param x [N, H, W, C]
   * @param context [N, S, contextDim]
   */
  forward(x: Tensor, context?: Context): Tensor {
    const [N, H, W] = x.shape;
    const h = this.proj_in.forward(this.norm.forward(x)); // [N, H, W, C']
    let tokens = h.reshape([N, H * W, -1]);
    for (const block of this.transformer_blocks) {
      // A prepared context is for sampling, where nothing is kept for a backward pass.
      if (!this.#checkpoint || context instanceof PreparedContext) {
        tokens = block.forward(tokens, context);
      } else {
        const inputs = context ? [tokens, context] : [tokens];
        tokens = checkpoint((...given) => block.forward(given[0], given[1]), ...inputs);
      }
    }
    return this.proj_out.forward(tokens.reshape(h.shape), { residual: x });
  }
}
