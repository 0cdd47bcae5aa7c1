/** The VQ-regularised latent: each vector becomes its nearest code (paper, section 3.1; VQ-VAE, VQGAN). */
import { autocast } from '../../ops/autocast.js';
import { argmin, detach, matmul } from '../../ops/index.js';
import { Embedding, Module, uniform_ } from '../../nn/index.js';
import { noGrad } from '../../autograd/index.js';
import type { Tensor } from '../../tensor.js';

export interface QuantizerOptions {
  /** weight β, default 0.25 */
  beta?: number;
  /** default true, as in every checkpoint: β weighs the codebook term instead of the commitment */
  legacy?: boolean;
  /** whether `indices` keeps the map's shape [N, h, w] instead of one axis */
  saneIndexShape?: boolean;
}

export interface Quantized {
  /** the codes in place of the vectors; gradients pass straight through */
  latents: Tensor;
  /** commitment and codebook loss, a scalar */
  loss: Tensor;
  /** int64 */
  indices: Tensor;
}

export class VectorQuantizer extends Module<[Tensor], Quantized> {
  readonly embedding: Embedding;
  readonly #beta: number;
  readonly #legacy: boolean;
  readonly #saneIndexShape: boolean;

  constructor(
    readonly codes: number,
    readonly dim: number,
    options: QuantizerOptions = {},
  ) {
    super();
    this.embedding = new Embedding(codes, dim);
    uniform_(this.embedding.weight, -1 / codes, 1 / codes);
    this.#beta = options.beta ?? 0.25;
    this.#legacy = options.legacy ?? true;
    this.#saneIndexShape = options.saneIndexShape ?? false;
  }

  /** @param z [N, h, w, dim] */
  forward(z: Tensor): Quantized {
    const indices = this.nearest(z);
    const codes = this.embedding.forward(indices).reshape(z.shape);
    const commitment = detach(codes).sub(z).square().mean();
    const codebook = codes.sub(detach(z)).square().mean();
    const loss = this.#legacy
      ? commitment.add(codebook.mul(this.#beta))
      : commitment.mul(this.#beta).add(codebook);
    const [N, h, w] = z.shape;
    return {
      latents: z.add(detach(codes.sub(z))), // straight-through estimator
      loss,
      indices: this.#saneIndexShape ? indices.reshape([N, h, w]) : indices,
    };
  }

  /** Index of the nearest code per vector, the first of equals: int64 [N·h·w]. */
  nearest(z: Tensor): Tensor {
    const nearest = (): Tensor => {
      const codes = this.embedding.weight; // [codes, dim]
      const vectors = z.to(codes.dtype).reshape([-1, this.dim]); // [N·h·w, dim]
      const products = matmul(vectors, codes, { transposeB: true }); // [N·h·w, codes]
      const lengths = codes.square().sum(1); // [codes]
      // |z|² is the same for every code of a vector: it decides nothing
      return argmin(lengths.sub(products.mul(2)), 1);
    };
    // Codes lie close together: 16 bits would choose neighbours.
    return noGrad(() => autocast(false, nearest));
  }

  /** The codes of indices: [..., dim]. */
  lookUp(indices: Tensor): Tensor {
    return this.embedding.forward(indices);
  }
}
