// What a training tells while it runs, and to whom.

/** A training about to run. */
export interface RunStart {
  readonly name: string;
  /** Steps finished before; 0 for a new run. */
  readonly step: number;
  /** Steps at the end. */
  readonly steps: number;
}

/** A finished step. */
export interface StepReport {
  /** Number of finished steps. */
  readonly step: number;
  /** Images that the step trained on. */
  readonly images: number;
  /** The first phase's loss. */
  readonly loss: number;
}

/** Takes note of a training. Calls come in the order of steps, which count finished ones. */
export interface Logger {
  /** Before the first call: drops what was noted of steps beyond `run.step`, which will come again. */
  start?(run: RunStart): void | Promise<void>;
  /** After every step. */
  step?(report: StepReport): void;
  scalars(step: number, values: Readonly<Record<string, number>>): void;
  /** PNG files by name, such as `train/reconstructions`. */
  pictures?(step: number, files: Readonly<Record<string, string>>): void | Promise<void>;
  /** Something to read, such as a warning. */
  text?(step: number, message: string): void;
  /** The last call. */
  close(): void | Promise<void>;
}
