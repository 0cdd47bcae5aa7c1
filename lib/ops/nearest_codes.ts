import { op } from '../autograd/index.js';
import { checkFloating, checkRank, checkSameDType, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';

const kernels = native<{ nearest_codes(vectors: Id, codes: Id, indices: Id): void }>(
  'nearest_codes',
);

/**
 * The index of the nearest code (Euclidean distance) of every vector, the first of equals: the search of
 * vector quantisation. Distances are compared as they are computed and never stored, so that memory stays
 * at N + K numbers. A code that holds a NaN is never the nearest; a vector that holds one has index 0.
 *
 * @param vectors [N, D]
 * @param codes [K, D], K at least 1, of the vectors' dtype. 16-bit values are compared in float32.
 * @returns int64 [N]. Not differentiable.
 */
export function nearestCodes(vectors: Tensor, codes: Tensor): Tensor {
  checkTensors('nearestCodes', { vectors, codes });
  checkFloating('nearestCodes', { vectors, codes });
  checkRank('nearestCodes', 'vectors', vectors, 2);
  checkRank('nearestCodes', 'codes', codes, 2);
  checkShape(
    vectors.shape[1] === codes.shape[1],
    () =>
      `nearestCodes: vectors [${vectors.shape.join(', ')}] and codes [${codes.shape.join(', ')}] must have one width`,
  );
  checkSameDType('nearestCodes', { vectors, codes });
  check(codes.shape[0] > 0, () => 'nearestCodes: there is no code to choose from');
  const indices = empty([vectors.shape[0]], { dtype: 'int64', device: vectors.device });
  kernels.nearest_codes(vectors.id, codes.id, indices.id);
  return op({
    name: 'nearestCodes',
    inputs: [vectors, codes],
    output: indices,
    backward: 'not differentiable',
  });
}
