import { AsyncLocalStorage } from 'node:async_hooks';
import { addon, type Id } from './native.js';

/** A recorded operation as far as ownership needs to know it; see autograd/node.ts. */
export interface History {
  /** One of its results is gone: with the last that can ask for it goes what the operation saved. */
  drop(): void;
}

/** What a scope owns. Implemented by Tensor. */
export interface Owned {
  scope: Scope | null;
  scopeIndex: number;
  dispose(): void;
}

const released = 0; // never a tensor's id: generations count from 1
const idsPerLease = 4096;

// Tensors that were released in time are not among the ids, or no longer known to the engine.
const finalizers = new FinalizationRegistry<readonly Id[]>((ids) => {
  for (const id of ids) if (id !== released) addon.releaseCollected(id);
});

/** Releases a native tensor when the garbage collector finds that nobody holds `reference`. Returns 0. */
export function collectWith(reference: object, id: Id): number {
  finalizers.register(reference, [id]);
  return 0;
}

/**
 * The garbage collector's hold on what a scope's tensors forgot to release. They share it, since nearly
 * all of them end with the scope: to tell the collector about each would cost more than an operation does.
 * It ends when none of its references can be reached any more.
 */
export class Lease {
  private readonly ids: Id[] = [];

  constructor() {
    finalizers.register(this, this.ids);
  }

  get full(): boolean {
    return this.ids.length >= idsPerLease;
  }

  /** Returns the place of the id. */
  add(id: Id): number {
    return this.ids.push(id) - 1;
  }

  /** The tensor at this place was released in time. */
  remove(place: number): void {
    this.ids[place] = released;
  }
}

/** Owns the tensors made while it is open and disposes them when it closes. */
export class Scope {
  // Tensors know their index, so that disposing one early is a swap and no search.
  private owned: Owned[] = [];
  private current: Lease | null = null;

  /** For the next tensor made in this scope. */
  lease(): Lease {
    if (this.current === null || this.current.full) this.current = new Lease();
    return this.current;
  }

  add(tensor: Owned): void {
    tensor.scope = this;
    tensor.scopeIndex = this.owned.push(tensor) - 1;
  }

  remove(tensor: Owned): void {
    const last = this.owned.pop()!;
    if (last !== tensor) {
      this.owned[tensor.scopeIndex] = last;
      last.scopeIndex = tensor.scopeIndex;
    }
    tensor.scope = null;
  }

  /** Hands a tensor to another scope, or to nobody. */
  give(tensor: Owned, to: Scope | null): void {
    if (tensor.scope !== this) return;
    this.remove(tensor);
    to?.add(tensor);
  }

  close(): void {
    const owned = this.owned;
    this.owned = [];
    for (const tensor of owned) {
      tensor.scope = null;
      tensor.dispose();
    }
  }
}

export type LowDType = 'bfloat16' | 'float16';

/** What autocast() set for the code inside it; see ops/autocast.ts. */
export interface Precision {
  /** Of matrix work; null: as operands come. */
  readonly dtype: LowDType | null;
}

/** What surrounds the code that runs now; follows `await`. */
export interface Context {
  /** Owner of the tensors made now; null: nobody but the garbage collector. */
  readonly scope: Scope | null;
  /** Whether operations are recorded for backward. */
  readonly grad: boolean;
  /** The region of mixed precision, or null. */
  readonly precision: Precision | null;
}

const root: Context = { scope: null, grad: true, precision: null };
const storage = new AsyncLocalStorage<Context>();

export const currentContext = (): Context => storage.getStore() ?? root;

/** Runs body in the current context with some parts replaced; asynchronous continuations keep it. */
export function withContext<T>(change: Partial<Context>, body: () => T): T {
  return storage.run({ ...currentContext(), scope: currentScope(), ...change }, body);
}

/** A `using` scope of the synchronous code that runs now. */
export interface OpenScope {
  readonly scope: Scope;
  readonly context: Context;
  readonly outer: OpenScope | null;
}

let innermost: OpenScope | null = null;

/** Opens a scope for synchronous code. */
export function pushScope(): OpenScope {
  innermost = { scope: new Scope(), context: currentContext(), outer: innermost };
  return innermost;
}

/** Removes an open scope, and those opened inside it and never closed. Returns whether it was open. */
export function popScope(entry: OpenScope): boolean {
  for (let top = innermost; top; top = top.outer)
    if (top === entry) {
      innermost = entry.outer;
      return true;
    }
  return false;
}

/** The owner of a tensor made now, or null. */
export function currentScope(): Scope | null {
  const context = currentContext();
  return innermost !== null && innermost.context === context ? innermost.scope : context.scope;
}
