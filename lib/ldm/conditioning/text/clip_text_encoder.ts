/** CLIP's text encoder (Radford et al., 2021, section 2.4), which Stable Diffusion 1.x is conditioned on. */
import { tensor } from '../../../creation.js';
import { checkShape } from '../../../errors.js';
import { Embedding, LayerNorm, Linear, Module, normal_ } from '../../../nn/index.js';
import { matmul, quickGelu, softmax } from '../../../ops/index.js';
import type { Tensor } from '../../../tensor.js';
import { checkOptions, integer, type Rules } from '../../rules.js';

export interface ClipTextEncoderConfig {
  /** width of the tokens, default 768: that of ViT-L/14 */
  nEmbed?: number;
  /** default 12 */
  nLayer?: number;
  /** default 12 */
  nHead?: number;
  /** default 49408 */
  vocabSize?: number;
  /** longest text, default 77 */
  maxSeqLen?: number;
}

const rules: Rules<Required<ClipTextEncoderConfig>> = {
  nEmbed: integer(1, 65_536),
  nLayer: integer(0, 256),
  nHead: integer(1, 1024),
  vocabSize: integer(2, 2 ** 24),
  maxSeqLen: integer(2, 2 ** 20),
};

/** The encoder of ViT-L/14. */
const largest: Required<ClipTextEncoderConfig> = {
  nEmbed: 768,
  nLayer: 12,
  nHead: 12,
  vocabSize: 49_408,
  maxSeqLen: 77,
};

/** The config with its defaults. @throws ArgumentError for options that are unknown or out of range */
export function clipTextEncoderConfig(config: unknown): Required<ClipTextEncoderConfig> {
  checkOptions<ClipTextEncoderConfig>('ClipTextEncoder', config, rules, []);
  const whole = { ...largest, ...config };
  const { nEmbed, nHead } = whole;
  checkShape(nEmbed % nHead === 0, () => {
    return `ClipTextEncoder: nEmbed (${nEmbed}) must be divisible by nHead (${nHead}).`;
  });
  return whole;
}

/**
 * Token ids [N, T] → [N, T, nEmbed]: the last layer's states behind the last norm. A token sees those before it,
 * padding is seen like any other. Fields are named as the checkpoints of Stable Diffusion name their keys
 * (`cond_stage_model.transformer.text_model.*`); their `position_ids`, which count from 0, are left out.
 */
export class ClipTextEncoder extends Module<[Tensor], Tensor> {
  readonly transformer: { readonly text_model: TextModel };
  readonly config: Required<ClipTextEncoderConfig>;

  constructor(config: ClipTextEncoderConfig = {}) {
    super();
    this.config = clipTextEncoderConfig(config);
    this.transformer = { text_model: new TextModel(this.config) };
  }

  forward(ids: Tensor): Tensor {
    const { maxSeqLen } = this.config;
    checkShape(ids.rank === 2 && ids.shape[1] <= maxSeqLen, () => {
      return `ClipTextEncoder: ids must be [N, T] with T <= ${maxSeqLen}. Got [${ids.shape.join(', ')}].`;
    });
    return this.transformer.text_model.forward(ids);
  }
}

class TextModel extends Module<[Tensor], Tensor> {
  readonly embeddings: {
    readonly token_embedding: Embedding;
    readonly position_embedding: Embedding;
  };
  readonly encoder: { readonly layers: readonly Layer[] };
  readonly final_layer_norm: LayerNorm;

  constructor(config: Required<ClipTextEncoderConfig>) {
    super();
    const { nEmbed, nLayer, nHead, vocabSize, maxSeqLen } = config;
    this.embeddings = {
      token_embedding: new Embedding(vocabSize, nEmbed),
      position_embedding: new Embedding(maxSeqLen, nEmbed),
    };
    normal_(this.embeddings.token_embedding.weight, 0, 0.02);
    normal_(this.embeddings.position_embedding.weight, 0, 0.01);
    this.encoder = { layers: Array.from({ length: nLayer }, () => new Layer(nEmbed, nHead)) };
    this.final_layer_norm = new LayerNorm(nEmbed);
  }

  forward(ids: Tensor): Tensor {
    const T = ids.shape[1];
    const { token_embedding: tokens, position_embedding: positions } = this.embeddings;
    const mask = causalMask(T).to(ids.device);
    let h = tokens.forward(ids).add(positions.weight.narrow(0, 0, T)); // [N, T, C]
    for (const layer of this.encoder.layers) h = layer.forward(h, mask);
    return this.final_layer_norm.forward(h);
  }
}

class Layer extends Module<[Tensor, Tensor], Tensor> {
  readonly self_attn: CausalAttention;
  readonly layer_norm1: LayerNorm;
  readonly mlp: { readonly fc1: Linear; readonly fc2: Linear };
  readonly layer_norm2: LayerNorm;

  constructor(width: number, heads: number) {
    super();
    this.self_attn = new CausalAttention(width, heads);
    this.layer_norm1 = new LayerNorm(width);
    this.mlp = { fc1: new Linear(width, 4 * width), fc2: new Linear(4 * width, width) };
    this.layer_norm2 = new LayerNorm(width);
  }

  forward(x: Tensor, mask: Tensor): Tensor {
    const { fc1, fc2 } = this.mlp;
    const h = this.self_attn.forward(this.layer_norm1.forward(x), mask, x);
    return fc2.forward(quickGelu(fc1.forward(this.layer_norm2.forward(h))), { residual: h });
  }
}

class CausalAttention extends Module<[Tensor, Tensor, Tensor], Tensor> {
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly q_proj: Linear;
  readonly out_proj: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number) {
    super();
    this.k_proj = new Linear(width, width);
    this.v_proj = new Linear(width, width);
    this.q_proj = new Linear(width, width);
    this.out_proj = new Linear(width, width);
    this.#heads = heads;
  }

  // Composed of plain ops: 77 tokens once per picture need no kernel of their own.
  forward(x: Tensor, mask: Tensor, residual: Tensor): Tensor {
    const [N, T, C] = x.shape;
    const K = this.#heads;
    const D = C / K;
    const split = (projection: Linear) =>
      projection.forward(x).reshape([N, T, K, D]).permute([0, 2, 1, 3]); // [N, K, T, D]
    const [q, k, v] = [this.q_proj, this.k_proj, this.v_proj].map(split);
    const scores = matmul(q, k, { transposeB: true }).mul(D ** -0.5);
    const weights = softmax(scores.add(mask.to(scores.dtype))); // [N, K, T, T]
    const mixed = matmul(weights, v).permute([0, 2, 1, 3]).reshape([N, T, C]);
    return this.out_proj.forward(mixed, { residual });
  }
}

// [T, T]: -∞ where a key comes after the query.
function causalMask(T: number): Tensor {
  const values = Float32Array.from({ length: T * T }, (_, i) =>
    i % T > Math.floor(i / T) ? -Infinity : 0,
  );
  return tensor(values, { shape: [T, T] });
}
