import { check } from '../errors.js';
import { currentContext, withContext } from '../ownership.js';
import { snapshotAll } from '../replay.js';
import { tidy } from '../scope.js';
import { Tensor } from '../tensor.js';
import type { Rule } from './node.js';
import { walkRegion } from './backward.js';
import { attach, enableGrad, isGradEnabled, noGrad } from './record.js';

/**
 * Runs fn without keeping its intermediate results; backward runs it again, with the same random numbers.
 * Trades a second forward pass for memory (Chen et al., "Training deep nets with sublinear memory cost").
 *
 * `backward()` reaches the inputs and every parameter that fn uses; `grad()` sees the region's inputs
 * only. fn must be synchronous and give the same result for the same inputs; of the tensors it makes,
 * those it does not return are disposed.
 *
 * @throws ArgumentError unless fn returns a tensor or an array of tensors.
 */
export function checkpoint<T extends Tensor | Tensor[]>(
  fn: (...inputs: Tensor[]) => T,
  ...inputs: Tensor[]
): T {
  if (!isGradEnabled()) return checked(fn(...inputs));
  const restore = snapshotAll();
  const { precision } = currentContext();
  const made = noGrad(() => tidy(() => checked(fn(...inputs))));
  const rule: Rule = (grads, saved, needs) => {
    const after = snapshotAll();
    restore();
    const copies = saved.map((x, i) => {
      const copy = x.alias();
      if (needs[i]) copy.requiresGrad = true;
      return copy;
    });
    try {
      // What only handles hold is free before the walk.
      const again = withContext({ precision }, () => enableGrad(() => tidy(() => fn(...copies))));
      const outputs: Tensor[] = Array.isArray(again) ? again : [again as Tensor];
      return walkRegion(outputs, grads, copies);
    } finally {
      after();
    }
  };
  // A tensor that has a history or is a leaf keeps that: what the region hands on is another handle on it.
  const taken = new Set(inputs);
  const own = (x: Tensor): Tensor => {
    const known = taken.has(x) || x.requiresGrad;
    taken.add(x);
    return known ? x.alias() : x;
  };
  const output = (Array.isArray(made) ? made.map(own) : own(made)) as T;
  attach('checkpoint', inputs, output, inputs, rule, true);
  return output;
}

function checked<T>(result: T): T {
  if (result instanceof Promise) result.catch(() => undefined); // the error below is the one to see
  check(
    result instanceof Tensor ||
      (Array.isArray(result) && result.every((item) => item instanceof Tensor)),
    () =>
      'checkpoint: the function must return a Tensor or an array of Tensors, got ' +
      (result instanceof Promise ? 'a promise; it must be synchronous' : describe(result)),
  );
  return result;
}

const describe = (value: unknown): string =>
  typeof value === 'object' && value !== null ? value.constructor.name : String(value);
