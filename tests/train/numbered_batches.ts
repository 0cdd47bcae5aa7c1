// Data for trainings under test: batch k is a function of k.
import type { DataSource } from '../../lib/data/source.js';

export abstract class NumberedBatches<Batch> implements DataSource<Batch> {
  constructor(readonly batchesPerEpoch: number) {}

  /** Batch k, the same every time. */
  protected abstract batch(number: number): Batch;

  async *batches({ from = 0 }: { from?: number } = {}): AsyncGenerator<Batch> {
    for (let number = from; ; ++number) yield this.batch(number);
  }

  async *epoch(): AsyncGenerator<Batch> {
    for (let number = 0; number < this.batchesPerEpoch; ++number) yield this.batch(number);
  }
}
