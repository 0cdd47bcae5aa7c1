import { currentScope, popScope, pushScope, Scope, withContext } from './ownership.js';
import { DisposedError, EmulsionError } from './errors.js';
import { Tensor } from './tensor.js';

/** Closes when its block ends: `using s = scope();`. */
export interface ScopeHandle extends Disposable {
  /** Lets tensors outlive the scope: they belong to the surrounding one. Returns its first argument. */
  keep<T extends Tensor>(tensor: T, ...more: Tensor[]): T;
}

/**
 * Opens a scope for the rest of the block: tensors made in it are disposed at the block's end.
 *
 * ```ts
 * { using s = scope(); loss = s.keep(step(batch)); }
 * ```
 *
 * It is for synchronous code. When it closes after an `await` in between, it throws an EmulsionError
 * (`ERR_SCOPE`) and disposes what it owned; use {@link tidy} with an async function there.
 */
export function scope(): ScopeHandle {
  const parent = currentScope();
  const entry = pushScope();
  let state: 'open' | 'abandoned' | 'closed' = 'open';
  // The microtask runs when the synchronous code that opened the scope has ended.
  queueMicrotask(() => {
    if (state === 'open') {
      state = 'abandoned';
      popScope(entry);
    }
  });
  return {
    keep(tensor, ...more) {
      if (state === 'closed') throw new DisposedError('scope.keep: the scope is closed');
      for (const each of [tensor, ...more]) entry.scope.give(each, parent);
      return tensor;
    },
    [Symbol.dispose]() {
      if (state === 'closed') return;
      const abandoned = state === 'abandoned';
      state = 'closed';
      if (!abandoned) popScope(entry);
      entry.scope.close();
      if (abandoned)
        throw new EmulsionError(
          'scope: it was left open across an await, so tensors made after the await did not belong to it. ' +
            'Use `await tidy(async () => { ... })`, or close the scope before awaiting.',
          'ERR_SCOPE',
        );
    },
  };
}

/** @internal Tensors in a returned value: itself, or members of arrays, maps and plain objects. */
export function* tensorsIn(value: unknown, seen = new Set<object>()): Generator<Tensor> {
  if (value instanceof Tensor) {
    yield value;
    return;
  }
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  if (Array.isArray(value)) for (const item of value) yield* tensorsIn(item, seen);
  else if (value instanceof Map) for (const item of value.values()) yield* tensorsIn(item, seen);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) yield* tensorsIn(item, seen);
}

/** @internal The same value with other tensors in the places of its own, in the order of {@link tensorsIn}. */
export function replaceTensors<T>(value: T, replace: (tensor: Tensor) => Tensor): T {
  const known = new Map<unknown, unknown>();
  const visit = (item: unknown): unknown => {
    if (item instanceof Tensor) return replace(item);
    if (typeof item !== 'object' || item === null) return item;
    if (known.has(item)) return known.get(item);
    const note = <R>(made: R): R => {
      known.set(item, made);
      return made;
    };
    if (Array.isArray(item)) {
      const made: unknown[] = note([]);
      for (const each of item) made.push(visit(each));
      return made;
    }
    if (item instanceof Map) {
      const made = note(new Map<unknown, unknown>());
      for (const [key, each] of item) made.set(key, visit(each));
      return made;
    }
    if (Object.getPrototypeOf(item) !== Object.prototype) return item;
    const made: Record<string, unknown> = note({});
    for (const [key, each] of Object.entries(item)) made[key] = visit(each);
    return made;
  };
  return visit(value) as T;
}

/**
 * Runs body and disposes every tensor made in it, except those that it returns (alone, or inside arrays,
 * maps and plain objects), those passed to {@link keep}, and gradients of leaves. With an async body
 * everything until its promise settles belongs to the scope, across each `await`; concurrent tasks have
 * scopes of their own.
 */
export function tidy<T>(body: () => T): T {
  const parent = currentScope();
  const own = new Scope();
  const finish = <R>(result: R): R => {
    for (const tensor of tensorsIn(result)) own.give(tensor, parent);
    own.close();
    return result;
  };
  let result: T;
  try {
    result = withContext({ scope: own }, body);
  } catch (error) {
    own.close();
    throw error;
  }
  if (!(result instanceof Promise)) return finish(result);
  return result.then(finish, (error: unknown) => {
    own.close();
    throw error;
  }) as T;
}

/** Takes a tensor out of its scope: it lives until it is disposed. Returns it. */
export function keep<T extends Tensor>(tensor: T): T {
  tensor.scope?.give(tensor, null);
  return tensor;
}
