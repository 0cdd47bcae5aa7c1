/** Attention inside the first stage: one head over all positions of the map. */
import { attention, matmul, permute, softmax } from '../../ops/index.js';
import type { GroupNorm, Linear } from '../../nn/index.js';
import { Identity, Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { normalize, pointwise } from './blocks.js';
import type { FullFirstStageConfig } from './config.js';

/** Softmax attention with pointwise layers for queries, keys, values and output. */
export class AttnBlock extends Module<[Tensor], Tensor> {
  readonly norm: GroupNorm;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly proj_out: Linear;

  constructor(channels: number, normGroups?: number) {
    super();
    this.norm = normalize(channels, normGroups);
    this.q = pointwise(channels, channels);
    this.k = pointwise(channels, channels);
    this.v = pointwise(channels, channels);
    this.proj_out = pointwise(channels, channels);
  }

  forward(x: Tensor): Tensor {
    const [N, H, W, C] = x.shape;
    const h = this.norm.forward(x);
    const tokens = (map: Tensor) => map.reshape([N, H * W, 1, C]);
    const mixed = attention(
      tokens(this.q.forward(h)),
      tokens(this.k.forward(h)),
      tokens(this.v.forward(h)),
    ); // [N, HW, 1, C], scaled by C^(-1/2)
    return this.proj_out.forward(mixed.reshape([N, H, W, C]), { residual: x });
  }
}

/**
 * Linear attention (Shen et al., "Efficient attention"): keys are normalised over the positions, and
 * keys times values is a small matrix per head. Neither scaled nor residual, as in the original.
 */
export class LinearAttention extends Module<[Tensor], Tensor> {
  readonly to_qkv: Linear;
  readonly to_out: Linear;
  readonly #heads: number;
  readonly #headDim: number;

  constructor(dim: number, heads = 4, headDim = 32) {
    super();
    this.to_qkv = pointwise(dim, 3 * heads * headDim, false);
    this.to_out = pointwise(heads * headDim, dim);
    this.#heads = heads;
    this.#headDim = headDim;
  }

  forward(x: Tensor): Tensor {
    const [N, H, W] = x.shape;
    const [T, K, D] = [H * W, this.#heads, this.#headDim];
    // channels are ordered (q, k, v), head, channel of the head
    const qkv = this.to_qkv.forward(x).reshape([N, T, 3, K, D]);
    const heads = permute(qkv, [2, 0, 3, 1, 4]); // [3, N, K, T, D]
    const [q, k, v] = heads.chunk(3, 0).map((part) => part.reshape([N, K, T, D]));
    const context = matmul(softmax(k, 2), v, { transposeA: true }); // [N, K, D, D]
    const mixed = permute(matmul(q, context), [0, 2, 1, 3]); // [N, T, K, D]
    return this.to_out.forward(mixed.reshape([N, H, W, K * D]));
  }
}

/** The attention layer of a config. */
export function makeAttention(
  channels: number,
  { attnType, normGroups }: Pick<FullFirstStageConfig, 'attnType' | 'normGroups'>,
): Module<[Tensor], Tensor> {
  switch (attnType) {
    case 'vanilla':
      return new AttnBlock(channels, normGroups);
    case 'linear':
      return new LinearAttention(channels, 1, channels);
    case 'none':
      return new Identity();
  }
}
