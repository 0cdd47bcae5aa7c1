/** A tensor as the report sees it. */
interface Traced {
  readonly disposed: boolean;
  readonly scope: unknown;
  readonly bytes: number;
  describe(): string;
}

// With EMULSION_DEBUG=1 every tensor remembers where it was made.
const enabled = Boolean(process.env.EMULSION_DEBUG) && process.env.EMULSION_DEBUG !== '0';
const made = new Set<{ tensor: WeakRef<Traced>; stack: string }>();
let sweepAt = 4096;

export interface Leak {
  /** Dtype and shape. */
  tensor: string;
  bytes: number;
  /** Where it was made. */
  stack: string;
}

/** @internal */
export function noteCreation(tensor: Traced): void {
  if (!enabled) return;
  const stack = new Error().stack?.split('\n').slice(3).join('\n') ?? '';
  made.add({ tensor: new WeakRef(tensor), stack });
  if (made.size > sweepAt) sweepAt = 2 * (sweep().length + 2048);
}

function sweep(): { tensor: Traced; stack: string }[] {
  const alive: { tensor: Traced; stack: string }[] = [];
  for (const entry of made) {
    const tensor = entry.tensor.deref();
    if (!tensor || tensor.disposed) made.delete(entry);
    else alive.push({ tensor, stack: entry.stack });
  }
  return alive;
}

/**
 * The tensors that no scope owns and nobody disposed, with the stacks that made them, largest first.
 * Parameters and optimizer states are among them: look for what grows. Needs `EMULSION_DEBUG=1`;
 * otherwise the list is empty.
 */
export function leakReport(): Leak[] {
  return sweep()
    .filter(({ tensor }) => tensor.scope === null)
    .map(({ tensor, stack }) => ({ tensor: tensor.describe(), bytes: tensor.bytes, stack }))
    .sort((a, b) => b.bytes - a.bytes);
}
