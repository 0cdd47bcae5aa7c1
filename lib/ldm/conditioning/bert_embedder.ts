/** The text encoder of text-to-image and layout-to-image models (paper, appendix E.2.1). */
import { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { TransformerEncoder } from './transformer_encoder.js';

export interface BertEmbedderConfig {
  /** width of the tokens */
  nEmbed: number;
  nLayer: number;
  /** default 30522: the vocabulary of bert-base-uncased */
  vocabSize?: number;
  /** default 77 */
  maxSeqLen?: number;
  /** whether the tokens are those of captions, by bert-base-uncased; default true */
  useTokenizer?: boolean;
  embeddingDropout?: number;
  /** a text of nothing but this token stands for "none"; default: the empty caption does, where there are captions */
  unconditionalToken?: number;
}

/** Token ids [N, T] → context [N, T, nEmbed]. Every token counts, padding too. */
export class BertEmbedder extends Module<[Tensor], Tensor> {
  readonly transformer: TransformerEncoder;

  constructor(readonly config: BertEmbedderConfig) {
    super();
    this.transformer = new TransformerEncoder({
      numTokens: config.vocabSize ?? 30522,
      maxSeqLen: config.maxSeqLen ?? 77,
      dim: config.nEmbed,
      depth: config.nLayer,
      embDropout: config.embeddingDropout,
    });
  }

  forward(ids: Tensor): Tensor {
    return this.transformer.forward(ids);
  }
}
