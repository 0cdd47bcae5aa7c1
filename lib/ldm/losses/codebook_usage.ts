/** How much of a codebook a batch uses. */
import { ones, zeros } from '../../creation.js';
import { exp, gt, indexAdd, log, mul, neg, sum } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';

export interface CodebookUsage {
  /** exp of the entropy of the codes' shares: `codes` when all are used alike, 1 when one is. Scalar. */
  perplexity: Tensor;
  /** Number of codes that occur. Scalar. */
  clusterUsage: Tensor;
}

/**
 * @param indices of the chosen codes, any shape
 * @param codes size of the codebook
 */
export function codebookUsage(indices: Tensor, codes: number): CodebookUsage {
  const { device } = indices;
  const ids = indices.reshape([-1]);
  const counts = indexAdd(zeros([codes], { device }), 0, ids, ones([ids.numel], { device }));
  const shares = counts.div(ids.numel); // [codes]
  return {
    perplexity: exp(neg(sum(mul(shares, log(shares.add(1e-10)))))),
    clusterUsage: sum(gt(shares, 0)).to('float32'),
  };
}
