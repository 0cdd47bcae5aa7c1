// What the two sides of the comparison are told and answer, one JSON object a line.

/** A piece of work both sides know how to build. */
export interface Work {
  kind: string;
  args: Record<string, unknown>;
  /**
   * Of inputs and results that take turns, as many as no cache holds: what a run finds in none then. A network's
   * operations mostly do; alone, on the same tensors again and again, they find them in the nearest. Default 1.
   */
  sets?: number;
}

export type Request = { prepare: Work } | { run: number } | { error: Work } | { peak: true };

/** Where and in what both sides compute: arguments of their processes. */
export interface Setting {
  threads: number;
  /** `cpu`, or a GPU as emulsion names it: `cuda:0`. */
  device: string;
  /** Of single operations; networks keep float32 weights and run below that under autocast. */
  dtype: 'float32' | 'bfloat16' | 'float16';
}

export interface Answers {
  hello: { version: string };
  prepare: Record<string, never>;
  /** Of one run. */
  run: { seconds: number };
  /** Of the result against float64 on the same rounded inputs, as ‖difference‖ / ‖exact‖. */
  error: { error: number };
  /** Peak resident memory of the process, or what its tensors took at most on a GPU. */
  peak: { mib: number };
}
