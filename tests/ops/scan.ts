import * as lib from '../../lib/index.js';
import { ones } from '../../lib/index.js';
import { at, generate, type NdArray } from '../support/oracle.js';
import type { CaseFile, OpCase, OpCases } from './cases.js';

// Elements of a line of x along an axis through the given index.
const line = (x: NdArray, axis: number, index: number[]): number[] =>
  Array.from({ length: x.shape[axis] }, (_, i) => at(x, ...index.toSpliced(axis, 1, i)));

const exactly = (
  name: string,
  inputs: OpCase['inputs'],
  run: OpCase['run'],
  expected: number[],
): OpCase => ({
  name,
  inputs,
  run,
  reference: () => expected,
  tolerance: 'exact',
  grad: false,
});

const prefix = (shape: number[], axis: number): OpCase => ({
  name: `[${shape.join(', ')}] along ${axis}`,
  inputs: { x: shape },
  run: ({ x }) => lib.cumsum(x, axis),
  reference: ({ x }) => {
    const along = axis < 0 ? axis + shape.length : axis;
    return generate(shape, (...index) =>
      line(x, along, index)
        .slice(0, index[along] + 1)
        .reduce((a, b) => a + b, 0),
    );
  },
  reduction: shape.at(axis),
});

// Long enough for engines to share a line; the engine's float64 run is the oracle.
const long = (
  shape: number[],
  axis: number,
  run: OpCase['run'],
  rest: Partial<OpCase> = {},
): OpCase => ({
  name: `[${shape.join(', ')}] along ${axis}`,
  inputs: { x: shape },
  run,
  tolerance: 'exact',
  grad: false,
  ...rest,
});

const longPrefix = (shape: number[], axis: number): OpCase =>
  long(shape, axis, ({ x }) => lib.cumsum(x, axis), {
    tolerance: 'elementwise',
    reduction: shape.at(axis),
    grad: true,
  });

const longRanked = (shape: number[], k: number, axis: number, largest: boolean): OpCase =>
  long(shape, axis, ({ x }) => lib.topK(x, k, { axis, largest }), {
    name: `${largest ? 'largest' : 'smallest'} ${k} of [${shape.join(', ')}] along ${axis}`,
  });

// NaN before everything, then by value, the lower index first among equals.
function order(values: number[], largest: boolean): number[] {
  const key = (v: number): number => (Number.isNaN(v) ? -Infinity : largest ? -v : v);
  return values.map((_, i) => i).sort((a, b) => key(values[a]) - key(values[b]) || a - b);
}

const ranked = (shape: number[], k: number, axis: number, largest: boolean): OpCase => ({
  name: `${largest ? 'largest' : 'smallest'} ${k} of [${shape.join(', ')}] along ${axis}`,
  inputs: { x: shape },
  run: ({ x }) => lib.topK(x, k, { axis, largest }),
  reference: ({ x }) => {
    const along = axis < 0 ? axis + shape.length : axis;
    const to = shape.toSpliced(along, 1, k);
    const chosen = (index: number[]): number => order(line(x, along, index), largest)[index[along]];
    return [
      generate(to, (...index) => at(x, ...index.toSpliced(along, 1, chosen(index)))),
      generate(to, (...index) => chosen(index)),
    ];
  },
  tolerance: 'exact',
  // The harness moves inputs by small steps: neighbours in rank must not swap.
  grad: shape.length === 1,
});

function extreme(name: 'argmax' | 'argmin'): OpCases {
  const run = lib[name];
  const largest = name === 'argmax';
  const along = (shape: number[], axis: number): OpCase => ({
    name: `[${shape.join(', ')}] along ${axis}`,
    inputs: { x: { shape, grad: false } },
    run: ({ x }) => run(x, axis, { keepDims: true }),
    reference: ({ x }) => {
      const index = axis < 0 ? axis + shape.length : axis;
      return generate(
        shape.toSpliced(index, 1, 1),
        (...at) => order(line(x, index, at), largest)[0],
      );
    },
    tolerance: 'exact',
  });
  return {
    op: name,
    cases: [
      along([5, 37], -1),
      along([7, 3], 0),
      along([2, 5, 3], 1),
      long([3, 700], 1, ({ x }) => run(x, 1)),
      long([2, 20011], 1, ({ x }) => run(x, 1)),
      long([2, 300, 3], 1, ({ x }) => run(x, 1)),
      exactly('of everything', { x: { shape: [2, 2], values: [1, 4, -3, 2] } }, ({ x }) => run(x), [
        largest ? 1 : 2,
      ]),
      exactly(
        'first of equals',
        { x: { shape: [4], values: [2, 5, 5, 2] } },
        ({ x }) => run(x, 0),
        [largest ? 1 : 0],
      ),
      exactly(
        'NaN wins',
        { x: { shape: [4], values: [2, NaN, 5, NaN] } },
        ({ x }) => run(x, 0),
        [1],
      ),
      exactly(
        'integers',
        { x: { shape: [3], dtype: 'int32', values: [3, 9, -9] } },
        ({ x }) => run(x, 0),
        [largest ? 1 : 2],
      ),
      exactly(
        'zeros of either sign are equal',
        { x: { shape: [2, 2], values: [-0, 0, 0, -0] } },
        ({ x }) => run(x, 1),
        [0, 0],
      ),
      exactly(
        'bool',
        { x: { shape: [3], dtype: 'bool', values: [1, 0, 1] } },
        ({ x }) => run(x, 0),
        [largest ? 0 : 1],
      ),
    ],
    errors: [
      {
        name: 'an empty axis',
        run: () => run(ones([2, 0]), 1),
        message: new RegExp(`${name}: Tensor\\(float32, \\[2, 0\\]\\) is empty along axis 1`),
      },
      {
        name: 'an axis that does not exist',
        run: () => run(ones([2, 3]), 2),
        message: new RegExp(`${name}: axis 2 does not exist in 2 dimensions`),
        error: lib.ShapeError,
      },
    ],
  };
}

export default [
  {
    op: 'cumsum',
    cases: [
      prefix([37], 0),
      prefix([4, 9], -1),
      prefix([9, 4], 0),
      prefix([2, 5, 3], 1),
      prefix([0, 3], 0),
      longPrefix([3, 700], 1),
      longPrefix([20011], 0),
      longPrefix([300, 3], 0),
      exactly(
        'integers',
        { x: { shape: [4], dtype: 'int32', values: [1, -2, 3, 4] } },
        ({ x }) => lib.cumsum(x, 0),
        [1, -1, 2, 6],
      ),
      long([5, 130], 1, ({ x }) => lib.cumsum(x, 1), {
        name: 'integers that wrap',
        inputs: { x: { shape: [5, 130], dtype: 'int32', low: -(2 ** 31), high: 2 ** 31 } },
      }),
    ],
    errors: [
      {
        name: 'bool',
        run: () => lib.cumsum(ones([2], { dtype: 'bool' }), 0),
        message: /cumsum: x is bool; convert it with \.to\('int64'\)/,
        error: lib.DTypeError,
      },
    ],
  },
  extreme('argmax'),
  extreme('argmin'),
  {
    op: 'topK',
    cases: [
      ranked([19], 5, -1, true),
      ranked([4, 37], 7, -1, true),
      ranked([4, 37], 37, -1, false),
      ranked([9, 3], 2, 0, true),
      ranked([2, 6, 5], 3, 1, false),
      ranked([3, 4], 0, -1, true),
      longRanked([3, 5000], 7, 1, true),
      longRanked([2, 4500], 1024, 1, false),
      longRanked([2100], 1500, 0, true),
      longRanked([2, 5000], 5000, 1, false),
      longRanked([2, 2500, 2], 3, 1, true),
      long([2, 3000], 1, ({ x }) => lib.topK(x, 40, { axis: 1 }), {
        name: 'many equal integers',
        inputs: { x: { shape: [2, 3000], dtype: 'int64', low: -3, high: 30 } },
      }),
      {
        name: 'gradients of more than a warp of values',
        inputs: { x: [2, 90, 2] },
        run: ({ x }) => lib.topK(x, 70, { axis: 1 })[0],
        grad: true,
      },
      exactly(
        'ties and NaN',
        { x: { shape: [5], values: [1, 3, NaN, 3, 0] } },
        ({ x }) => lib.topK(x, 4)[1],
        [2, 1, 3, 0],
      ),
    ],
    errors: [
      {
        name: 'more than there are',
        run: () => lib.topK(ones([2, 3]), 4),
        message: /topK: k must be an integer from 0 to 3, the extent of axis 1; got 4/,
      },
    ],
  },
] satisfies CaseFile;
