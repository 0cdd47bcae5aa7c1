import { op } from '../autograd/index.js';
import { checkFloating, checkSameDType, checkTensors, notATensor } from '../checks.js';
import { checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsLow, toLow } from './autocast.js';

const kernels = native<{
  matmul_forward(a: Id, b: Id, transposeA: boolean, transposeB: boolean, y: Id): void;
}>('matmul_forward');

export interface MatmulOptions {
  /** Use `a` with its last two axes exchanged. Default false. */
  transposeA?: boolean;
  /** Use `b` with its last two axes exchanged. Default false. */
  transposeB?: boolean;
}

const show = (x: Tensor): string => `[${x.shape.join(', ')}]`;

// Leading axes of the product; an extent of 1 or a missing axis repeats.
function batchShape(a: Tensor, b: Tensor): number[] {
  const rank = Math.max(a.rank, b.rank) - 2;
  return Array.from({ length: rank }, (_, axis) => {
    const extentA = a.shape[a.rank - 2 - rank + axis] ?? 1;
    const extentB = b.shape[b.rank - 2 - rank + axis] ?? 1;
    checkShape(
      extentA === extentB || extentA === 1 || extentB === 1,
      () => `matmul: batch axes must be equal or 1 to broadcast. Got a ${show(a)} and b ${show(b)}`,
    );
    return extentA === 1 ? extentB : extentA;
  });
}

/**
 * Matrix product over the last two axes: `[..., M, C] x [..., C, K]` gives `[..., M, K]`. Leading axes broadcast.
 * A vector `a` is a row, a vector `b` a column, whose axis the result drops. 16-bit floats are summed in float32.
 *
 * @throws ShapeError when the inner extents differ or the leading axes do not broadcast.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  if (!a || !b) throw notATensor('matmul', a ? 'b' : 'a', a ? b : a);
  checkTensors('matmul', { a, b });
  checkFloating('matmul', { a, b });
  if (needsLow(a, b)) return tidy(() => matmul(toLow(a), toLow(b), options));
  checkSameDType('matmul', { a, b });
  checkShape(
    a.rank >= 1 && b.rank >= 1,
    () => `matmul: a and b must have one axis or more, got a ${show(a)} and b ${show(b)}`,
  );
  if (a.rank === 1) {
    checkShape(!transposeA, () => `matmul: transposeA needs a matrix, got a ${show(a)}`);
    const y = matmul(a.reshape([1, a.numel]), b, options);
    return y.reshape(y.shape.filter((_, axis) => axis !== y.rank - (b.rank === 1 ? 1 : 2)));
  }
  if (b.rank === 1) {
    checkShape(!transposeB, () => `matmul: transposeB needs a matrix, got b ${show(b)}`);
    const y = matmul(a, b.reshape([b.numel, 1]), options);
    return y.reshape(y.shape.slice(0, -1));
  }
  const [rows, depth] = transposeA
    ? [a.shape.at(-1)!, a.shape.at(-2)!]
    : [a.shape.at(-2)!, a.shape.at(-1)!];
  const [inner, columns] = transposeB
    ? [b.shape.at(-1)!, b.shape.at(-2)!]
    : [b.shape.at(-2)!, b.shape.at(-1)!];
  checkShape(
    depth === inner,
    () =>
      `matmul: columns of a (${depth}) must equal rows of b (${inner}). ` +
      `Got a ${show(a)}${transposeA ? ' transposed' : ''} and b ${show(b)}${transposeB ? ' transposed' : ''}`,
  );
  // One matrix for all batches: the batches are rows, which makes one large product, backward too.
  if (b.rank === 2 && a.rank > 2 && !transposeA) {
    const flat = a.reshape([
      a.shape.slice(0, -1).reduce((product, extent) => product * extent, 1),
      depth,
    ]);
    return matmul(flat, b, options).reshape([...a.shape.slice(0, -1), columns]);
  }

  const y = empty([...batchShape(a, b), rows, columns], a);
  kernels.matmul_forward(a.id, b.id, transposeA, transposeB, y.id);
  return op({
    name: 'matmul',
    inputs: [a, b],
    output: y,
    save: [b.requiresGrad ? a : null, a.requiresGrad ? b : null],
    // With A and B as multiplied: dA = dy·Bᵀ, dB = Aᵀ·dy; an operand used transposed gets the transpose.
    backward: ([dy], [a, b], needs) => [
      !needs[0]
        ? null
        : transposeA
          ? matmul(b, dy, { transposeA: transposeB, transposeB: true })
          : matmul(dy, b, { transposeB: !transposeB }),
      !needs[1]
        ? null
        : transposeB
          ? matmul(dy, a, { transposeA: true, transposeB: transposeA })
          : matmul(a, dy, { transposeA: !transposeA }),
    ],
  });
}
