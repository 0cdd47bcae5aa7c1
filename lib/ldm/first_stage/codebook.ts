/** Codebooks that learn without a gradient, and codes that start anew when nothing uses them. */
import { ones, zeros } from '../../creation.js';
import { buffer, Embedding, uniform_ } from '../../nn/index.js';
import { indexAdd, indexSelect, isFinite, logicalAnd, where } from '../../ops/index.js';
import { Generator } from '../../random.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';

/** Where training stands: what a codebook's own changes depend on. */
export interface CodebookStep {
  seed: number;
  /** optimizer steps so far, from 0 */
  step: number;
  /** micro-batch of an accumulated step, default 0 */
  micro?: number;
}

export interface CodebookEmaOptions {
  /** share of the past in the moving averages, default 0.99 */
  decay?: number;
  /** keeps a code's count from zero, default 1e-5 */
  eps?: number;
}

export interface RestartOptions {
  /** steps after which the codebook is looked through: the window */
  every: number;
  /** codes that fewer vectors of the window used start anew, default 1: those that none used */
  minUses?: number;
}

/** Codes uniform in ±1/codes. */
export function startCodes(embedding: Embedding): void {
  uniform_(embedding.weight, -1 / embedding.count, 1 / embedding.count);
}

/**
 * A codebook of moving averages (van den Oord et al., "Neural Discrete Representation Learning", appendix
 * A.1). With nᵢ vectors z nearest to code i, after each batch
 *
 *     Nᵢ ← γ Nᵢ + (1 − γ) nᵢ,   mᵢ ← γ mᵢ + (1 − γ) Σ z,   eᵢ ← mᵢ / Ñᵢ,
 *
 * where Ñᵢ = (Nᵢ + ε) / (Σ N + K ε) · Σ N is Laplace's smoothing. The codes are no parameters.
 */
export class EmaCodebook extends Embedding {
  readonly cluster_size: Tensor; // [codes]: N
  readonly embed_avg: Tensor; // [codes, dim]: m
  readonly #decay: number;
  readonly #eps: number;

  constructor(codes: number, dim: number, { decay = 0.99, eps = 1e-5 }: CodebookEmaOptions = {}) {
    super(codes, dim);
    startCodes(this);
    this.weight.requiresGrad = false;
    buffer(this.weight);
    // Counts of one keep each code where it is until vectors choose it.
    this.cluster_size = buffer(ones([codes]));
    this.embed_avg = buffer(this.weight.mul(1));
    this.#decay = decay;
    this.#eps = eps;
  }

  /** Begins the averages with the codes as they are. */
  startAverages(): void {
    tidy(() => {
      const cluster_size = ones([this.count]);
      this.loadStateDict({ cluster_size, embed_avg: this.weight }, { strict: false });
    });
  }

  /**
   * Moves the averages by one batch.
   *
   * @param vectors [N, dim]
   * @param indices int64 [N]
   * @param counts [codes], uses of each code among `indices`
   */
  follow(vectors: Tensor, indices: Tensor, counts: Tensor): void {
    const [decay, eps] = [this.#decay, this.#eps];
    const sums = indexAdd(zeros(this.weight.shape, vectors), 0, indices, vectors); // [codes, dim]
    const size = this.cluster_size.mul(decay).add(counts.mul(1 - decay));
    const average = this.embed_avg.mul(decay).add(sums.mul(1 - decay));
    const total = size.sum();
    const smoothed = size
      .add(eps)
      .div(total.add(this.count * eps))
      .mul(total);
    const weight = average.div(smoothed.reshape([-1, 1]));
    this.loadStateDict({ weight, cluster_size: size, embed_avg: average });
  }
}

/** Stream of the random numbers that choose vectors for dead codes. */
const restartStream = 0x636f6465;

/**
 * Puts vectors of the batch, drawn with (seed, step), in the place of dead codes. A vector that is not finite
 * replaces none.
 *
 * @param dead bool [codes]
 * @param vectors [N, dim], N at least 1
 */
export function restartCodes(
  codebook: Embedding,
  dead: Tensor,
  vectors: Tensor,
  { seed, step }: CodebookStep,
): void {
  const generator = new Generator(seed, { stream: restartStream });
  generator.setState({ seed, stream: restartStream, step });
  const { device } = vectors;
  const rows = generator.integers(0, vectors.shape[0], [codebook.count], { device });
  const fresh = indexSelect(vectors, 0, rows); // [codes, dim]
  const replaced = logicalAnd(dead, isFinite(fresh.sum(1)));
  const column = replaced.reshape([-1, 1]);
  const state: Record<string, Tensor> = { weight: where(column, fresh, codebook.weight) };
  if (codebook instanceof EmaCodebook) {
    state.cluster_size = where(replaced, 1, codebook.cluster_size);
    state.embed_avg = where(column, fresh, codebook.embed_avg);
  }
  codebook.loadStateDict(state);
}
