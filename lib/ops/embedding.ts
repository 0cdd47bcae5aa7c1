import { op } from '../autograd/index.js';
import { checkDType, checkRank, checkTensors } from '../checks.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';

const kernels = native<{
  embedding_forward(weight: Id, ids: Id, y: Id): void;
  embedding_backward(dy: Id, ids: Id, dweight: Id): void;
}>('embedding_forward', 'embedding_backward');

/**
 * Rows of a table by their number. Repeated ids add up in the weight's gradient, always in the same order.
 *
 * @param weight the table [V, D].
 * @param ids int32 or int64 of any shape, each in [0, V). One outside is found while the op runs: the next
 *   read, or `device.synchronize()`, throws an error that names it.
 * @returns ids' shape followed by D, in the table's dtype.
 */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  checkTensors('embedding', { weight, ids });
  checkRank('embedding', 'weight', weight, 2);
  checkDType('embedding', 'ids', ids, ['int32', 'int64']);
  const y = empty([...ids.shape, weight.shape[1]], weight);
  kernels.embedding_forward(weight.id, ids.id, y.id);
  const { shape } = weight;
  return op({
    name: 'embedding',
    inputs: [weight],
    output: y,
    save: [ids],
    backward([dy], [ids]) {
      const dweight = empty(shape, dy);
      kernels.embedding_backward(dy.id, ids.id, dweight.id);
      return [dweight];
    },
  });
}
