import { op } from '../autograd/index.js';
import { checkFloating, checkTensors } from '../checks.js';
import { check } from '../errors.js';
import { native, type Id } from '../native.js';
import { defaultGenerator, type Generator } from '../random.js';
import { empty, type Tensor } from '../tensor.js';

const kernels = native<{
  dropout(seed: number, stream: number, step: number, p: number, x: Id, y: Id): void;
}>('dropout');

export interface DropoutOptions {
  /** false returns x itself. Default true. */
  training?: boolean;
  /** Default: the global generator, see `manualSeed`. */
  generator?: Generator;
}

/**
 * Sets elements to zero with probability p and scales the others by 1 / (1 - p). The mask is a function of the
 * generator's state, so backward draws it again and none is stored.
 */
export function dropout(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  const { training = true, generator = defaultGenerator } = options;
  checkTensors('dropout', { x });
  checkFloating('dropout', { x });
  check(p >= 0 && p < 1, () => `dropout: p must lie in [0, 1), got ${p}`);
  if (!training || p === 0) return x;
  const { seed, stream, step } = generator.next();
  const masked = (from: Tensor): Tensor => {
    const to = empty(from.shape, from);
    kernels.dropout(seed, stream, step, p, from.id, to.id);
    return to;
  };
  return op({ name: 'dropout', inputs: [x], output: masked(x), backward: ([dy]) => [masked(dy)] });
}
