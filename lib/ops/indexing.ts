import { op } from '../autograd/index.js';
import {
  checkDType,
  checkFloating,
  checkRank,
  checkSameDType,
  checkTensors,
  normalizeAxis,
} from '../checks.js';
import type { DType } from '../dtype.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { needsWidest, toWidest } from './autocast.js';

const kernels = native<{
  gather_forward(x: Id, index: Id, axis: number, y: Id): void;
  scatter_add_forward(x: Id | null, index: Id, src: Id, axis: number, y: Id): void;
  index_select_forward(x: Id, ids: Id, axis: number, y: Id): void;
  index_add_forward(x: Id | null, ids: Id, src: Id, axis: number, y: Id): void;
  one_hot_forward(ids: Id, y: Id): void;
}>(
  'gather_forward',
  'scatter_add_forward',
  'index_select_forward',
  'index_add_forward',
  'one_hot_forward',
);

const integers = ['int32', 'int64'] as const;

function checkLines(name: string, x: Tensor, index: Tensor, axis: number): void {
  checkDType(name, 'index', index, integers);
  checkShape(
    index.rank === x.rank && index.shape.every((extent, k) => k === axis || extent <= x.shape[k]),
    () =>
      `${name}: index [${index.shape.join(', ')}] must have the rank of x [${x.shape.join(', ')}] and, but for ` +
      `axis ${axis}, at most its extents`,
  );
}

/**
 * One value of x for each entry of index: along axis 1, `y[i][j] = x[i][index[i][j]]`. The gradient adds up where
 * entries repeat, always in the same order.
 * @param index int32 or int64, of x's rank; an entry outside x is an error at the next read.
 */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  checkTensors('gather', { x, index });
  const along = normalizeAxis('gather', axis, x.rank);
  checkLines('gather', x, index, along);
  const y = empty(index.shape, x);
  kernels.gather_forward(x.id, index.id, along, y.id);
  const { shape } = x;
  return op({
    name: 'gather',
    inputs: [x],
    output: y,
    save: [index],
    backward([dy], [saved]) {
      const dx = empty(shape, dy);
      kernels.scatter_add_forward(null, saved.id, dy.id, along, dx.id);
      return [dx];
    },
  });
}

/** A copy of x to which src is added: along axis 1, `y[i][index[i][j]] += src[i][j]`. Reproducible sums. */
export function scatterAdd(x: Tensor, axis: number, index: Tensor, src: Tensor): Tensor {
  checkTensors('scatterAdd', { x, index, src });
  checkFloating('scatterAdd', { x });
  if (needsWidest([x, src]))
    return tidy(() => {
      const [wideX, wideSrc] = toWidest([x, src]);
      return scatterAdd(wideX, axis, index, wideSrc);
    });
  checkSameDType('scatterAdd', { x, src });
  const along = normalizeAxis('scatterAdd', axis, x.rank);
  checkLines('scatterAdd', x, index, along);
  checkShape(
    src.shape.join() === index.shape.join(),
    () =>
      `scatterAdd: src [${src.shape.join(', ')}] must have the shape of index [${index.shape.join(', ')}]`,
  );
  const y = empty(x.shape, x);
  kernels.scatter_add_forward(x.id, index.id, src.id, along, y.id);
  return op({
    name: 'scatterAdd',
    inputs: [x, src],
    output: y,
    save: [index],
    backward: ([dy], [saved], needs) => [dy, needs[1] ? gather(dy, along, saved) : null],
  });
}

/**
 * Whole slices of x along an axis, in the order of ids: `indexSelect(weight, 0, tokens)` looks embeddings up.
 * @param ids int32 or int64, one axis; an id outside x is an error at the next read.
 */
export function indexSelect(x: Tensor, axis: number, ids: Tensor): Tensor {
  checkTensors('indexSelect', { x, ids });
  checkRank('indexSelect', 'ids', ids, 1);
  checkDType('indexSelect', 'ids', ids, integers);
  const along = normalizeAxis('indexSelect', axis, x.rank);
  const y = empty(x.shape.with(along, ids.numel), x);
  kernels.index_select_forward(x.id, ids.id, along, y.id);
  const { shape } = x;
  return op({
    name: 'indexSelect',
    inputs: [x],
    output: y,
    save: [ids],
    backward([dy], [saved]) {
      const dx = empty(shape, dy);
      kernels.index_add_forward(null, saved.id, dy.id, along, dx.id);
      return [dx];
    },
  });
}

/** A copy of x to which slices are added: `y[ids[i]] += src[i]` along an axis. Reproducible sums. */
export function indexAdd(x: Tensor, axis: number, ids: Tensor, src: Tensor): Tensor {
  checkTensors('indexAdd', { x, ids, src });
  checkFloating('indexAdd', { x });
  if (needsWidest([x, src]))
    return tidy(() => {
      const [wideX, wideSrc] = toWidest([x, src]);
      return indexAdd(wideX, axis, ids, wideSrc);
    });
  checkSameDType('indexAdd', { x, src });
  checkRank('indexAdd', 'ids', ids, 1);
  checkDType('indexAdd', 'ids', ids, integers);
  const along = normalizeAxis('indexAdd', axis, x.rank);
  checkShape(
    src.shape.join() === x.shape.with(along, ids.numel).join(),
    () =>
      `indexAdd: src [${src.shape.join(', ')}] must be x [${x.shape.join(', ')}] with ${ids.numel} entries on axis ${along}`,
  );
  const y = empty(x.shape, x);
  kernels.index_add_forward(x.id, ids.id, src.id, along, y.id);
  return op({
    name: 'indexAdd',
    inputs: [x, src],
    output: y,
    save: [ids],
    backward: ([dy], [saved], needs) => [dy, needs[1] ? indexSelect(dy, along, saved) : null],
  });
}

/**
 * 1 at each id along a new last axis, 0 elsewhere.
 * @param ids int32 or int64 in [0, classes); one outside is an error at the next read.
 */
export function oneHot(ids: Tensor, classes: number, options: { dtype?: DType } = {}): Tensor {
  checkTensors('oneHot', { ids });
  checkDType('oneHot', 'ids', ids, integers);
  check(
    Number.isInteger(classes) && classes > 0,
    () => `oneHot: classes must be a positive integer, got ${classes}`,
  );
  const y = empty([...ids.shape, classes], { dtype: options.dtype, device: ids.device });
  kernels.one_hot_forward(ids.id, y.id);
  return op({ name: 'oneHot', inputs: [ids], output: y, backward: 'not differentiable' });
}
