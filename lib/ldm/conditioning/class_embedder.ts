/** A class as a context of one token (paper, section 4.3 and appendix E.2.1). */
import { Embedding, Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';

export interface ClassEmbedderConfig {
  embedDim: number;
  /** default 1000; one more class can stand for "none" in classifier-free guidance */
  nClasses?: number;
  /** the class that stands for "none", default: there is no such class */
  unconditionalClass?: number;
}

/** Class ids [N] → [N, 1, embedDim]. */
export class ClassEmbedder extends Module<[Tensor], Tensor> {
  readonly embedding: Embedding;

  constructor(readonly config: ClassEmbedderConfig) {
    super();
    this.embedding = new Embedding(config.nClasses ?? 1000, config.embedDim);
  }

  forward(ids: Tensor): Tensor {
    return this.embedding.forward(ids).reshape([ids.shape[0], 1, this.config.embedDim]);
  }
}
