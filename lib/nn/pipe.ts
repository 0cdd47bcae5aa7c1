import { currentScope } from '../ownership.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

/**
 * Applies layers in turn: `pipe(x, [f, g])` is `g(f(x))`. What a layer made on its way, and a result that only
 * the next layer read, are freed at once and not with the surrounding scope: a network then needs the memory
 * of its hungriest layer, not of all of them. In training what backward needs stays until it has been there.
 * `x` stays the caller's, and so does what a layer only hands out, such as a parameter.
 */
export function pipe(x: Tensor, layers: Iterable<(x: Tensor) => Tensor>): Tensor {
  let last = x;
  let made = false; // by the layer that returned it
  for (const layer of layers) {
    const [input, passing] = [last, made];
    last = tidy(() => {
      const y = layer(input);
      if (y !== input) made = y.scope === currentScope();
      return y;
    });
    if (passing && input !== last) input.dispose();
  }
  return last;
}
