/** How much of a codebook is in use: counts, perplexity, codes that died. */
import { noGrad } from '../../autograd/index.js';
import { ones, zeros, zerosLike } from '../../creation.js';
import { check } from '../../errors.js';
import { buffer, Module } from '../../nn/index.js';
import { exp, indexAdd, le, log, maximum, where } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';

/** How often each code occurs among indices of any shape: float32 [codes], exact up to 2²⁴. */
export function countCodes(indices: Tensor, codes: number): Tensor {
  const { device } = indices;
  return tidy(() => {
    const ids = indices.reshape([-1]);
    return indexAdd(zeros([codes], { device }), 0, ids, ones([ids.numel], { device }));
  });
}

/**
 * exp(−Σ p ln(p + 1e-10)) over the shares p of the codes, a scalar: as many codes as are used if all were
 * used equally. 1 when a single code serves for everything.
 *
 * @param indices code indices of any shape, int32 or int64
 */
export function codePerplexity(indices: Tensor, codes: number): Tensor {
  return tidy(() => {
    const share = countCodes(indices, codes).div(indices.numel);
    return exp(
      share
        .mul(log(share.add(1e-10)))
        .sum()
        .neg(),
    );
  });
}

/** What {@link CodeUsage} has seen. */
export interface CodeUsageReport {
  /** Batches so far. */
  batches: number;
  /** Uses of each code. */
  counts: number[];
  /** Number of codes used at least once. */
  used: number;
  /** exp(−Σ p ln(p + 1e-10)) over all batches; 0 before the first. */
  perplexity: number;
  /** Codes that no vector of the last `window` batches used, in ascending order. */
  dead: number[];
}

/**
 * Code usage over a run. A module without parameters, so that a trainer saves it with the rest:
 * `usage.forward(indices)` after each batch, `await usage.report()` now and then. Only the report waits.
 */
export class CodeUsage extends Module<[Tensor], void> {
  /** [codes], int64 */
  readonly counts: Tensor;
  /** [codes], int64: the batch in which each code was used last, counted from 1; 0 for never */
  readonly last_used: Tensor;
  /** a scalar, int64 */
  readonly batches: Tensor;

  /** @param window batches without use after which a code counts as dead, default 100 */
  constructor(
    readonly codes: number,
    readonly window = 100,
  ) {
    super();
    check(Number.isInteger(codes) && codes > 0, () => {
      return `CodeUsage: codes must be a positive integer. Got ${codes}.`;
    });
    check(Number.isInteger(window) && window > 0, () => {
      return `CodeUsage: window must be a positive integer. Got ${window}.`;
    });
    this.counts = buffer(zeros([codes], { dtype: 'int64' }));
    this.last_used = buffer(zeros([codes], { dtype: 'int64' }));
    this.batches = buffer(zeros([], { dtype: 'int64' }));
  }

  /** Counts the indices of one batch, of any shape. */
  forward(indices: Tensor): void {
    const count = () => {
      const now = countCodes(indices, this.codes).to('int64');
      const batches = this.batches.add(1);
      const last = where(now.gt(0), batches, this.last_used);
      this.loadStateDict({ counts: this.counts.add(now), last_used: last, batches });
    };
    tidy(() => noGrad(count));
  }

  /** Reads what was counted. */
  async report(): Promise<CodeUsageReport> {
    const [counted, lastUsed, batches] = await Promise.all([
      this.counts.data(),
      this.last_used.data(),
      this.batches.item(),
    ]);
    const counts = Array.from(counted, Number);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const entropy = counts
      .map((count) => count / total)
      .reduce((sum, share) => sum - share * Math.log(share + 1e-10), 0);
    const start = Math.max(0, batches - this.window);
    const dead = Array.from(lastUsed, Number).flatMap((last, code) =>
      last <= start ? [code] : [],
    );
    return {
      batches,
      counts,
      used: counts.filter((count) => count > 0).length,
      perplexity: total > 0 ? Math.exp(entropy) : 0,
      dead,
    };
  }

  /** What {@link report} says of used and dead codes as two counts: scalars, and nothing waits. */
  totals(): { used: Tensor; dead: Tensor } {
    return tidy(() => {
      const start = maximum(this.batches.sub(this.window), 0);
      const count = (codes: Tensor) => codes.sum().to('float32');
      return { used: count(this.counts.gt(0)), dead: count(le(this.last_used, start)) };
    });
  }

  /** Starts counting anew. */
  reset(): void {
    tidy(() => {
      const nothing = [...this.stateDict()].map(([key, x]) => [key, zerosLike(x)] as const);
      this.loadStateDict(new Map(nothing));
    });
  }
}
