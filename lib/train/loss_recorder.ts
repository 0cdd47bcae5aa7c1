// The losses of a phase with their backward passes, recorded once and replayed (see capture.ts).
import { capture, type CapturedStep, type CapturePool } from '../capture.js';
import { EmulsionError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import type { PhaseLoss, RecordableLoss } from './task.js';

/** Holds one recording at a time: a loss of another kind drops it, so that memory is never held for two. */
export class LossRecorder<Output> {
  private kind: string | null = null;
  private step: CapturedStep<Tensor[], Output> | null = null;
  private refused = false;

  constructor(private readonly pool: CapturePool) {}

  /**
   * @param finish what becomes of a loss, the backward pass included. Its tensors are overwritten by the next call.
   * A function of the loss alone: calls of later losses do not run it
   */
  run(given: RecordableLoss, finish: (compute: () => PhaseLoss) => Output): Output {
    const plain = (): Output => finish(() => given);
    if (this.refused) return plain();
    const kind = [given.key, ...given.inputs.map((x) => `${x.describe()} on ${x.device}`)].join();
    if (kind !== this.kind) {
      this.release();
      this.kind = kind;
      const { pool } = this;
      this.step = capture((...inputs: Tensor[]) => finish(() => given.compute(inputs)), { pool });
    }
    try {
      return this.step!(...given.inputs);
    } catch (error) {
      if (!(error instanceof EmulsionError && error.code === 'ERR_CAPTURE')) throw error;
      // What cannot be recorded now cannot be later; nothing of it has run.
      this.release();
      this.refused = true;
      return plain();
    }
  }

  /** Gives the recording's memory back. The next loss begins another. */
  release(): void {
    this.step?.dispose();
    this.step = this.kind = null;
  }
}
