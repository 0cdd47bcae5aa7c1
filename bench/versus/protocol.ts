// What the two sides of the comparison are told and answer, one JSON object a line.

/** A piece of work both sides know how to build. */
export interface Work {
  kind: string;
  args: Record<string, unknown>;
}

export type Request = { prepare: Work } | { run: number } | { error: Work } | { peak: true };

export interface Answers {
  hello: { version: string };
  prepare: Record<string, never>;
  /** Of one run. */
  run: { seconds: number };
  /** Of the float32 result against float64 on the same inputs, as ‖difference‖ / ‖exact‖. */
  error: { error: number };
  /** Peak resident memory of the process. */
  peak: { mib: number };
}
