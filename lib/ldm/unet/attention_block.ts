/** Self-attention over the map, without context (paper, appendix E.2.1). */
import { attention } from '../../ops/index.js';
import { GroupNorm, Linear, Module, zeroModule } from '../../nn/index.js';
import { check } from '../../errors.js';
import type { Tensor } from '../../tensor.js';

export interface AttentionBlockOptions {
  heads: number;
  /**
   * Order of the 3C channels of `qkv`. `heads-first`, in all published checkpoints: each head holds its
   * own q, k, v. `qkv-first`: all q, then all k, then all v.
   */
  order?: 'heads-first' | 'qkv-first';
  /** default 32 */
  normGroups?: number;
}

export class AttentionBlock extends Module<[Tensor], Tensor> {
  readonly norm: GroupNorm;
  readonly qkv: Linear;
  readonly proj_out: Linear;
  readonly #heads: number;
  readonly #order: 'heads-first' | 'qkv-first';

  constructor(channels: number, options: AttentionBlockOptions) {
    super();
    const { heads, order = 'heads-first', normGroups = 32 } = options;
    check(heads > 0 && channels % heads === 0, () => {
      return `AttentionBlock: channels (${channels}) must be divisible by heads (${heads}).`;
    });
    this.norm = new GroupNorm(normGroups, channels);
    this.qkv = new Linear(channels, 3 * channels, { storedAs: 'conv1d' });
    this.proj_out = zeroModule(new Linear(channels, channels, { storedAs: 'conv1d' }));
    this.#heads = heads;
    this.#order = order;
  }

  forward(x: Tensor): Tensor {
    const [N, H, W, C] = x.shape;
    const [T, K, D] = [H * W, this.#heads, C / this.#heads];
    const tokens = x.reshape([N, T, C]);
    const qkv = this.qkv.forward(this.norm.forward(tokens)); // [N, T, 3C]
    const [q, k, v] =
      this.#order === 'heads-first'
        ? qkv.reshape([N, T, K, 3 * D]).chunk(3, 3)
        : qkv.chunk(3, 2).map((part) => part.reshape([N, T, K, D]));
    // the original scales q and k by D^(-1/4) each: D^(-1/2) on the logits
    const mixed = attention(q, k, v).reshape([N, T, C]);
    return this.proj_out.forward(mixed, { residual: tokens }).reshape(x.shape);
  }
}
