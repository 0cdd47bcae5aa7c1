// Losses of a task's phases with their backward passes, recorded once and replayed (see capture.ts).
import { capture, CapturePool, type CapturedStep } from '../capture.js';
import { EmulsionError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import type { PhaseLoss, RecordableLoss } from './task.js';

interface Recording<Output> {
  readonly kind: string;
  readonly step: CapturedStep<Tensor[], Output>;
}

// A recording keeps blocks apart from all others: where memory is short a step in turn may still fit.
const refusals: ReadonlySet<string> = new Set(['ERR_CAPTURE', 'ERR_OUT_OF_MEMORY']);

/**
 * Holds one recording for each phase, all in one pool: the phases' passes take turns. As soon as one cannot be
 * replayed all are dropped, so that no pass needs memory beside that of recordings.
 */
export class LossRecorder<Output> {
  private readonly recordings = new Map<string, Recording<Output>>();
  private readonly pool = new CapturePool();
  private refused = false;

  /**
   * @param finish what becomes of a loss, the backward pass included: a function of the loss alone, which calls of
   * later losses do not run. Its tensors are overwritten by the phase's next call
   */
  run(phase: string, given: RecordableLoss, finish: (compute: () => PhaseLoss) => Output): Output {
    const plain = (): Output => finish(() => given);
    if (this.refused) return plain();
    const kind = [given.key, ...given.inputs.map((x) => `${x.describe()} on ${x.device}`)].join();
    let recording = this.recordings.get(phase);
    if (recording && recording.kind !== kind) {
      this.release();
      recording = undefined;
    }
    if (!recording) {
      const body = (...inputs: Tensor[]): Output => finish(() => given.compute(inputs));
      recording = { kind, step: capture(body, { pool: this.pool }) };
      this.recordings.set(phase, recording);
    }
    try {
      return recording.step(...given.inputs);
    } catch (error) {
      if (!(error instanceof EmulsionError && refusals.has(error.code))) throw error;
      // What cannot be recorded now cannot be later; nothing of it has run.
      this.release();
      this.refused = true;
      return plain();
    }
  }

  /** Gives the recordings' memory back. The next losses begin others. */
  release(): void {
    for (const { step } of this.recordings.values()) step.dispose();
    this.recordings.clear();
  }
}
