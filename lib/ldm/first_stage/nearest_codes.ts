/** The search of vector quantisation: which code is nearest to each vector. */
import { noGrad } from '../../autograd/index.js';
import { checkFloating, checkRank, checkSameDType, checkTensors } from '../../checks.js';
import { check, checkShape } from '../../errors.js';
import { autocast } from '../../ops/autocast.js';
import { argmin, concat, matmul, narrow } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import { empty, type Tensor } from '../../tensor.js';

// Distances of one block of vectors: 16 MiB in float32, so that they stay in reach of the caches.
const distancesPerBlock = 2 ** 22;

/**
 * The index of the nearest code (Euclidean distance) of every vector, the first of equals. Memory is
 * bounded: vectors are taken in blocks.
 *
 * @param vectors [N, D]
 * @param codes [K, D], K at least 1, of the vectors' dtype. 16-bit values are compared in float32
 * @returns int64 [N]; not differentiable
 */
export function nearestCodes(vectors: Tensor, codes: Tensor): Tensor {
  checkTensors('nearestCodes', { vectors, codes });
  checkFloating('nearestCodes', { vectors, codes });
  checkRank('nearestCodes', 'vectors', vectors, 2);
  checkRank('nearestCodes', 'codes', codes, 2);
  const [N, D] = vectors.shape;
  const [K] = codes.shape;
  checkShape(codes.shape[1] === D, () => {
    return `nearestCodes: vectors [${vectors.shape.join(', ')}] and codes [${codes.shape.join(', ')}] must have one width`;
  });
  checkSameDType('nearestCodes', { vectors, codes });
  check(K > 0, () => 'nearestCodes: there is no code to choose from');
  if (N === 0) return empty([0], { dtype: 'int64', device: vectors.device });

  const dtype = codes.dtype === 'float64' ? 'float64' : 'float32';
  const search = () => {
    const [all, table] = [vectors.to(dtype), codes.to(dtype)];
    const lengths = table.square().sum(1); // [K]
    const rows = Math.max(1, Math.floor(distancesPerBlock / K));
    const blocks: Tensor[] = [];
    for (let first = 0; first < N; first += rows) {
      const block = () => {
        const part = narrow(all, 0, first, Math.min(rows, N - first));
        const products = matmul(part, table, { transposeB: true }); // [rows, K]
        // |z|² is the same for every code of a vector: it decides nothing
        return argmin(lengths.sub(products.mul(2)), 1);
      };
      blocks.push(tidy(block));
    }
    return blocks.length === 1 ? blocks[0] : concat(blocks, 0);
  };
  return tidy(() => noGrad(() => autocast(false, search)));
}
