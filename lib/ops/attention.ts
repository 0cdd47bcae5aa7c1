import { op } from '../autograd/index.js';
import { checkDType, checkFloating, checkRank, checkSameDType, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsLow, toLow } from './autocast.js';

// prettier-ignore
const kernels = native<{
  attention_forward(q: Id, k: Id, v: Id, mask: Id | null, scale: number, y: Id, lse: Id): void;
  attention_backward(
    dy: Id, q: Id, k: Id, v: Id, mask: Id | null, y: Id, lse: Id, scale: number,
    dq: Id | null, dk: Id | null, dv: Id | null,
  ): void;
}>('attention_forward', 'attention_backward');

export interface AttentionOptions {
  /** Factor of the scores. Default `1 / sqrt(D)`. */
  scale?: number;
  /**
   * Which keys take part: bool or uint8 [N, S], non-zero keeps a key. Where a batch entry keeps none, all
   * its keys get the same weight, as with the most negative finite score in the reference.
   */
  mask?: Tensor | null;
}

/**
 * Scaled dot-product attention, `softmax(scale · q kᵀ) v` per head. The T × S weights are never stored:
 * memory is linear in the lengths, forward and backward.
 *
 * @param q queries [N, T, K, D]: batch, tokens, heads, head size; float dtypes, any extents.
 * @param k keys [N, S, K, D], S ≥ 1.
 * @param v values [N, S, K, D].
 * @returns [N, T, K, D] in q's dtype.
 * @throws ShapeError when k or v do not fit q, or the mask is not [N, S]; DTypeError when dtypes differ.
 * @see Vaswani et al. 2017, equation 1; Dao 2023 (FlashAttention-2).
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const mask = options.mask ?? null;
  checkTensors('attention', { q, k, v, mask });
  checkFloating('attention', { q, k, v });
  if (needsLow(q, k, v)) return tidy(() => attention(toLow(q), toLow(k), toLow(v), options));
  checkSameDType('attention', { q, k, v });
  checkRank('attention', 'q', q, 4);
  checkRank('attention', 'k', k, 4);
  const [N, T, K, D] = q.shape;
  const S = k.shape[1];
  checkShape(
    k.shape[0] === N && k.shape[2] === K && k.shape[3] === D,
    () =>
      `attention: k must be [N, S, K, D] with q's batch ${N}, heads ${K} and head size ${D}, ` +
      `got ${k.describe()} for q ${q.describe()}`,
  );
  checkShape(
    v.rank === 4 && v.shape.every((extent, axis) => extent === k.shape[axis]),
    () => `attention: v must have k's shape [${k.shape.join(', ')}], got ${v.describe()}`,
  );
  checkShape(S >= 1, () => `attention: k and v must hold at least one key, got ${k.describe()}`);
  if (mask) {
    checkDType('attention', 'mask', mask, ['bool', 'uint8']);
    checkShape(
      mask.rank === 2 && mask.shape[0] === N && mask.shape[1] === S,
      () => `attention: mask must be [N, S] = [${N}, ${S}], got ${mask.describe()}`,
    );
  }
  const scale = options.scale ?? 1 / Math.sqrt(D);
  check(Number.isFinite(scale) || D === 0, () => `attention: scale must be finite, got ${scale}`);

  const y = empty(q.shape, q);
  const lseDType = q.dtype === 'float64' ? 'float64' : 'float32';
  const lse = empty([N, K, T], { dtype: lseDType, device: q.device });
  kernels.attention_forward(q.id, k.id, v.id, mask?.id ?? null, scale, y.id, lse.id);
  return op({
    name: 'attention',
    inputs: [q, k, v],
    output: y,
    save: [q, k, v, mask, y, lse],
    backward([dy], [q, k, v, mask, y, lse], [needsQ, needsK, needsV]) {
      const dq = needsQ ? empty(q.shape, q) : null;
      const dk = needsK ? empty(k.shape, k) : null;
      const dv = needsV ? empty(v.shape, v) : null;
      // prettier-ignore
      kernels.attention_backward(
        dy.id, q.id, k.id, v.id, mask?.id ?? null, y.id, lse.id, scale,
        dq?.id ?? null, dk?.id ?? null, dv?.id ?? null,
      );
      return [dq, dk, dv];
    },
  });
}
