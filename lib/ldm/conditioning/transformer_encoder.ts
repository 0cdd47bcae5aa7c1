/**
 * The transformer that reads captions and layouts (paper, section 4.3 and appendix E.2.1): token and
 * position embeddings, pre-norm layers of attention and feed-forward, a last norm.
 */
import { attention, linear } from '../../ops/index.js';
import { Dropout, Embedding, LayerNorm, Linear, Module, normal_ } from '../../nn/index.js';
import { check, checkShape } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import { FeedForward } from '../unet/transformer.js';

export interface TransformerEncoderConfig {
  numTokens: number;
  /** longest sequence */
  maxSeqLen: number;
  /** width of the tokens */
  dim: number;
  /** number of layer pairs */
  depth: number;
  /** default 8, whatever the width */
  heads?: number;
  /** default 64, whatever the width */
  attnDimHead?: number;
  /** inner width of the feed-forward part over the outer one, default 4 */
  ffMult?: number;
  /** gated feed-forward part, default false */
  ffGlu?: boolean;
  /** of the embeddings, default 0 */
  embDropout?: number;
  /** logits from the token embeddings instead of a layer of their own */
  tieEmbedding?: boolean;
}

/** Self-attention over tokens [N, T, C]. */
class TokenAttention extends Module<[Tensor, { mask?: Tensor; residual?: Tensor }?], Tensor> {
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: Linear;
  readonly #heads: number;
  readonly #dimHead: number;

  constructor(dim: number, heads: number, dimHead: number) {
    super();
    const inner = heads * dimHead;
    this.to_q = new Linear(dim, inner, { bias: false });
    this.to_k = new Linear(dim, inner, { bias: false });
    this.to_v = new Linear(dim, inner, { bias: false });
    this.to_out = new Linear(inner, dim);
    this.#heads = heads;
    this.#dimHead = dimHead;
  }

  forward(x: Tensor, { mask, residual }: { mask?: Tensor; residual?: Tensor } = {}): Tensor {
    const [N, T] = x.shape;
    const [K, D] = [this.#heads, this.#dimHead];
    const q = this.to_q.forward(x).reshape([N, T, K, D]);
    const k = this.to_k.forward(x).reshape([N, T, K, D]);
    const v = this.to_v.forward(x).reshape([N, T, K, D]);
    let mixed = attention(q, k, v, { mask });
    if (mask) {
      // a masked token sees nothing, which in the original means everything equally
      const used = mask.to(x.dtype).reshape([N, T, 1, 1]);
      const uniform = v.mean(1, { keepDims: true }); // [N, 1, K, D]
      mixed = mixed.mul(used).add(uniform.mul(used.neg().add(1)));
    }
    return this.to_out.forward(mixed.reshape([N, T, K * D]), { residual });
  }
}

type Layer = TokenAttention | FeedForward;

/** Attention and feed-forward in turns, each as (norm, layer). */
class Layers extends Module<[Tensor, Tensor?], Tensor> {
  readonly layers: readonly (readonly [LayerNorm, Layer])[];

  constructor(config: TransformerEncoderConfig) {
    super();
    const { dim, depth, heads = 8, attnDimHead = 64, ffMult = 4, ffGlu = false } = config;
    this.layers = Array.from({ length: 2 * depth }, (_, i) => [
      new LayerNorm(dim),
      i % 2 === 0
        ? new TokenAttention(dim, heads, attnDimHead)
        : new FeedForward(dim, { mult: ffMult, glu: ffGlu }),
    ]);
  }

  forward(x: Tensor, mask?: Tensor): Tensor {
    let h = x;
    for (const [norm, layer] of this.layers) {
      const normed = norm.forward(h);
      h =
        layer instanceof FeedForward
          ? layer.forward(normed, h)
          : layer.forward(normed, { mask, residual: h });
    }
    return h;
  }
}

/** A table of positions; the first rows serve shorter sequences. */
class PositionEmbedding extends Module<[number], Tensor> {
  readonly emb: Embedding;

  constructor(length: number, dim: number) {
    super();
    this.emb = new Embedding(length, dim);
    normal_(this.emb.weight, 0, 0.02);
  }

  forward(length: number): Tensor {
    return this.emb.weight.narrow(0, 0, length); // [T, C]
  }
}

/** Token ids [N, T] → embeddings [N, T, dim]. */
export class TransformerEncoder extends Module<[Tensor, Tensor?], Tensor> {
  readonly token_emb: Embedding;
  readonly pos_emb: PositionEmbedding;
  readonly attn_layers: Layers;
  readonly norm: LayerNorm;
  /** part of published checkpoints, and not used for conditioning */
  readonly to_logits: Linear | null;
  readonly #dropout: Dropout;

  constructor(readonly config: TransformerEncoderConfig) {
    super();
    const { numTokens, maxSeqLen, dim, depth } = config;
    check(depth >= 0 && maxSeqLen > 0, () => {
      return `TransformerEncoder: depth must be >= 0 and maxSeqLen > 0. Got ${depth} and ${maxSeqLen}.`;
    });
    this.token_emb = new Embedding(numTokens, dim);
    normal_(this.token_emb.weight, 0, 0.02);
    this.pos_emb = new PositionEmbedding(maxSeqLen, dim);
    this.attn_layers = new Layers(config);
    this.norm = new LayerNorm(dim);
    this.to_logits = config.tieEmbedding ? null : new Linear(dim, numTokens);
    this.#dropout = new Dropout(config.embDropout ?? 0);
  }

  /** @param mask [N, T], bool: tokens to use; published models use all, padding too */
  forward(ids: Tensor, mask?: Tensor): Tensor {
    const T = ids.shape[1];
    checkShape(ids.rank === 2 && T <= this.config.maxSeqLen, () => {
      return `TransformerEncoder: ids must be [N, T] with T <= ${this.config.maxSeqLen}. Got [${ids.shape.join(', ')}].`;
    });
    const embedded = this.token_emb.forward(ids).add(this.pos_emb.forward(T)); // [N, T, C]
    return this.norm.forward(this.attn_layers.forward(this.#dropout.forward(embedded), mask));
  }

  /** Scores of every token at every position, from the embeddings. */
  logits(embeddings: Tensor): Tensor {
    return this.to_logits
      ? this.to_logits.forward(embeddings)
      : linear(embeddings, this.token_emb.weight);
  }
}
