/** The VQ-regularised latent: each vector becomes its nearest code (paper, section 3.1; VQ-VAE, VQGAN). */
import { isGradEnabled, noGrad } from '../../autograd/index.js';
import { tensor, zeros } from '../../creation.js';
import { check, checkShape } from '../../errors.js';
import { buffer, Embedding, Module } from '../../nn/index.js';
import { detach } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import { fromUsed, remappedCount, toUsed, type UnknownIndex } from './code_remap.js';
import { countCodes } from './code_usage.js';
import {
  EmaCodebook,
  restartCodes,
  startCodes,
  type CodebookEmaOptions,
  type CodebookStep,
  type RestartOptions,
} from './codebook.js';
import { nearestCodes } from './nearest_codes.js';

export interface QuantizerOptions {
  /** weight β, default 0.25 */
  beta?: number;
  /** default true, as in every checkpoint: β weighs the codebook term instead of the commitment */
  legacy?: boolean;
  /** whether `indices` keeps the map's shape [N, h, w] instead of one axis, default false */
  saneIndexShape?: boolean;
  /** codes in use, distinct: `indices` then counts among these. Saved as `quantize.used` */
  remap?: readonly number[];
  /** what codes outside `remap` become, default 'random' */
  unknownIndex?: UnknownIndex;
  /** learns the codebook by moving averages instead of a gradient; off by default */
  codebookEma?: CodebookEmaOptions;
  /** gives codes that nothing uses a new start; off by default */
  restartDeadCodes?: RestartOptions;
}

export interface Quantized {
  /** the codes in place of the vectors; gradients pass straight through */
  latents: Tensor;
  /** commitment and codebook loss, a scalar */
  loss: Tensor;
  /** int64: [N·h·w], with `saneIndexShape` [N, h, w], else with `remap` [N·h·w, 1] */
  indices: Tensor;
}

/**
 * The original's VectorQuantizer2. With A = mean (sg[e] − z)² and B = mean (e − sg[z])² the loss is A + β B
 * (legacy) or β A + B; with a codebook of moving averages, which needs no B, it is β A.
 *
 * Moving averages and restarts happen in `forward` while training with gradients on, and are a function of
 * the {@link CodebookStep} given there. Run passes that are not to move the codebook, such as a
 * discriminator's, inside `noGrad`.
 */
export class VectorQuantizer extends Module<[z: Tensor, step?: CodebookStep], Quantized> {
  readonly embedding: Embedding;
  /** [n], int64: the codes of `remap` */
  readonly used: Tensor | null;
  /** [codes]: uses of each code in the current window of `restartDeadCodes` */
  readonly code_uses: Tensor | null;
  /** How many different values `indices` can have. */
  readonly indexCount: number;
  readonly #options: QuantizerOptions;

  constructor(
    readonly codes: number,
    readonly dim: number,
    options: QuantizerOptions = {},
  ) {
    super();
    const { remap, unknownIndex = 'random', codebookEma, restartDeadCodes } = options;
    if (codebookEma) {
      this.embedding = new EmaCodebook(codes, dim, codebookEma);
    } else {
      this.embedding = new Embedding(codes, dim);
      startCodes(this.embedding);
    }
    this.used = remap ? buffer(tensor(remap, { dtype: 'int64' })) : null;
    this.code_uses = restartDeadCodes ? buffer(zeros([codes])) : null;
    this.indexCount = remap ? remappedCount(remap.length, unknownIndex) : codes;
    this.#options = options;
  }

  /** @param z [N, h, w, dim] */
  forward(z: Tensor, step?: CodebookStep): Quantized {
    const { beta = 0.25, legacy = true, codebookEma } = this.#options;
    const nearest = this.nearest(z);
    const codes = this.embedding.forward(nearest).reshape(z.shape);
    const commitment = detach(codes).sub(z).square().mean();
    let loss: Tensor;
    if (codebookEma) {
      loss = commitment.mul(beta);
    } else {
      const codebook = codes.sub(detach(z)).square().mean();
      loss = legacy ? commitment.add(codebook.mul(beta)) : commitment.mul(beta).add(codebook);
    }
    const latents = straightThrough(z, codes);
    this.#moveCodebook(z, nearest, step);
    return { latents, loss, indices: this.#indicesOf(nearest, z.shape) };
  }

  /** Latents [N, h, w, dim] as their nearest codes; gradients pass straight through. */
  toCodes(z: Tensor): Tensor {
    return straightThrough(z, this.embedding.forward(this.nearest(z)).reshape(z.shape));
  }

  /** Index of the nearest code per vector, the first of equals: int64 [N·h·w]. */
  nearest(z: Tensor): Tensor {
    checkShape(z.rank === 4 && z.shape[3] === this.dim, () => {
      return `VectorQuantizer: expected latents of shape [N, h, w, ${this.dim}]. Got [${z.shape.join(', ')}].`;
    });
    const { weight } = this.embedding;
    // Codes lie close together: 16 bits would choose neighbours.
    const wide = (x: Tensor) => x.to(weight.dtype === 'float64' ? 'float64' : 'float32');
    const search = () => nearestCodes(wide(z).reshape([-1, this.dim]), wide(weight));
    return tidy(() => noGrad(search));
  }

  /**
   * The codes of indices as `forward` gives them, that is counted among the used codes with `remap`.
   *
   * @param indices int32 or int64 of any shape
   * @param shape of the latents, [N, h, w, dim]. Default: the indices' shape followed by dim
   */
  getCodebookEntry(indices: Tensor, shape?: readonly number[]): Tensor {
    const codes = this.embedding.forward(this.used ? fromUsed(indices, this.used) : indices);
    return shape ? codes.reshape(shape) : codes;
  }

  #indicesOf(nearest: Tensor, [N, h, w]: readonly number[]): Tensor {
    const { saneIndexShape = false, unknownIndex = 'random' } = this.#options;
    const indices = this.used ? toUsed(nearest, this.used, this.codes, unknownIndex) : nearest;
    if (saneIndexShape) return indices.reshape([N, h, w]);
    return this.used ? indices.reshape([-1, 1]) : indices;
  }

  #moveCodebook(z: Tensor, nearest: Tensor, step: CodebookStep | undefined): void {
    const { embedding, code_uses: uses } = this;
    const moves = embedding instanceof EmaCodebook || uses !== null;
    if (!moves || !this.training || !isGradEnabled()) return;
    check(step, () => {
      return (
        'VectorQuantizer: codebookEma and restartDeadCodes need to know the step: forward(z, { seed, step }). ' +
        'Run passes that are not to move the codebook inside noGrad, or after eval().'
      );
    });
    const move = () => {
      const vectors = detach(z).to(embedding.weight.dtype).reshape([-1, this.dim]);
      const counts = countCodes(nearest, this.codes).to(embedding.weight.dtype);
      if (embedding instanceof EmaCodebook) embedding.follow(vectors, nearest, counts);
      if (uses) this.#restart(uses.add(counts), vectors, step);
    };
    tidy(() => noGrad(move));
  }

  #restart(uses: Tensor, vectors: Tensor, step: CodebookStep): void {
    const { every, minUses = 1 } = this.#options.restartDeadCodes!;
    const windowEnds = (step.step + 1) % every === 0 && (step.micro ?? 0) === 0;
    if (windowEnds) restartCodes(this.embedding, uses.lt(minUses), vectors, step);
    const code_uses = windowEnds ? zeros(uses.shape, uses) : uses;
    this.loadStateDict({ code_uses }, { strict: false });
  }
}

// z in the backward pass, its code in the forward pass
function straightThrough(z: Tensor, codes: Tensor): Tensor {
  return z.add(detach(codes.sub(z)));
}
