// What training and measuring take their batches from.

/** Batches of a data set, in an order that depends on a seed alone. */
export interface DataSource<Batch> {
  /** Batches in one pass through the data. */
  readonly batchesPerEpoch: number;
  /**
   * Batches without end, epoch after epoch. Batch k is a function of (seed, k) alone, so that the number of
   * batches already used is all that a later run needs to go on. The caller disposes the tensors.
   *
   * @param options.from number of the first batch. Default 0
   */
  batches(options?: { from?: number; signal?: AbortSignal }): AsyncIterable<Batch>;
  /** Once through the data, in order; the last batch may be short. The caller disposes the tensors. */
  epoch(options?: { signal?: AbortSignal }): AsyncIterable<Batch>;
  /** Ends workers and frees what is held. */
  dispose?(): Promise<void>;
}
