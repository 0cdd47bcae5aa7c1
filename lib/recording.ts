import { EmulsionError } from './errors.js';
import type { Reference, Tensor } from './tensor.js';

/** The recording or warm-up of a captured step; see capture.ts. */
export interface Recording {
  /** False in a warm-up, where everything still runs. */
  readonly recording: boolean;
  /** Leaves whose gradient a backward pass set or added to. */
  readonly leaves: Set<Tensor>;
  /** Memory written in place that is not the step's alone. */
  readonly written: Set<Reference>;
}

// Steps are synchronous: there is one at a time.
let current: Recording | null = null;

export const currentRecording = (): Recording | null => current;

/** Runs body as the given recording. */
export function withRecording<T>(recording: Recording, body: () => T): T {
  const outer = current;
  current = recording;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Throws while work is recorded: what follows would happen once, and in no replay. */
export function refuseInRecording(what: string, remedy: string): void {
  if (current?.recording) throw new EmulsionError(`capture: ${what}. ${remedy}`, 'ERR_CAPTURE');
}
