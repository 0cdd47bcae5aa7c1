// Muon for the hidden weights, AdamW for everything else: embeddings, norms, biases, and the layers at both
// ends of a network.
import { AdamW, clipGradNorm, Muon, type Module } from '../../lib/index.js';
import type { StageSettings } from './settings.js';

const ends =
  /(^|\.)(conv_in|conv_out|input_blocks\.0|out\.2|label_emb|token_emb|pos_emb|sketches)\./;

export class Optimizers {
  readonly hidden: Muon;
  readonly others: AdamW;

  constructor(
    model: Module,
    private readonly rates: Pick<StageSettings, 'learningRate' | 'hiddenLearningRate'>,
    weightDecay: number,
  ) {
    const named = [...model.namedParameters()];
    const isHidden = ([name, { rank }]: (typeof named)[number]) => rank >= 2 && !ends.test(name);
    const tensors = (wanted: boolean) =>
      named.filter((entry) => isHidden(entry) === wanted).map(([, x]) => x);
    this.hidden = new Muon(tensors(true), { adjustLr: 'matchRmsAdamw', weightDecay });
    this.others = new AdamW(tensors(false), { betas: [0.9, 0.99], weightDecay });
  }

  /** Updates the model at this share of the peak learning rates, and drops the gradients. */
  step(share: number): void {
    this.hidden.groups[0].lr = share * this.rates.hiddenLearningRate;
    this.others.groups[0].lr = share * this.rates.learningRate;
    // Muon's steps have one length whatever the gradient's.
    clipGradNorm(this.others.groups[0].params, 1);
    for (const optimizer of [this.hidden, this.others]) {
      optimizer.step();
      optimizer.zeroGrad();
    }
  }

  dispose(): void {
    this.hidden.dispose();
    this.others.dispose();
  }
}
