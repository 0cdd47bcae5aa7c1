import { currentContext, withContext } from '../ownership.js';
import { snapshotAll } from '../replay.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
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
 */
export function checkpoint<T extends Tensor | Tensor[]>(
  fn: (...inputs: Tensor[]) => T,
  ...inputs: Tensor[]
): T {
  if (!isGradEnabled()) return fn(...inputs);
  const restore = snapshotAll();
  const { precision } = currentContext();
  const output = noGrad(() => tidy(() => fn(...inputs)));
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
  attach('checkpoint', inputs, output, inputs, rule, true);
  return output;
}
