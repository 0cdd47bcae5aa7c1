/** State that a recomputation must find as the first computation did: random generators. */
export interface Replayable {
  /** Remembers the state now; the returned function brings it back. */
  snapshot(): () => void;
}

const replayables = new Set<Replayable>();

/** @internal Lets a source of state take part in recomputation. */
export function registerReplayable(source: Replayable): void {
  replayables.add(source);
}

/** @internal Remembers every source; the returned function brings them all back. */
export const snapshotAll = (): (() => void) => {
  const restores = [...replayables].map((source) => source.snapshot());
  return () => restores.forEach((restore) => restore());
};
