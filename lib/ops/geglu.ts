import { op } from '../autograd/index.js';
import { checkFloating, checkTensors } from '../checks.js';
import { checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';

const kernels = native<{
  geglu_forward(x: Id, residual: Id | null, y: Id): void;
  geglu_backward(x: Id, dy: Id, dx: Id): void;
}>('geglu_forward', 'geglu_backward');

/**
 * value · gelu(gate), where the last axis of x holds the values beside the gates: [.., 2C] → [.., C]. The
 * exact GELU. (Shazeer, "GLU variants improve transformer", 2020.)
 */
export function geglu(x: Tensor): Tensor {
  checkTensors('geglu', { x });
  checkFloating('geglu', { x });
  const channels = x.shape[x.rank - 1] ?? 1;
  checkShape(
    channels % 2 === 0,
    () =>
      `geglu: the last axis must be even, values beside gates; got shape [${x.shape.join(', ')}]`,
  );
  const y = empty([...x.shape.slice(0, -1), channels / 2], x);
  kernels.geglu_forward(x.id, null, y.id);
  return op({
    name: 'geglu',
    inputs: [x],
    output: y,
    save: [x],
    backward: ([dy], [x]) => {
      const dx = empty(x.shape, x);
      kernels.geglu_backward(x.id, dy.id, dx.id);
      return [dx];
    },
  });
}
