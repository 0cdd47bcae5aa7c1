// Elementwise ops of two operands, comparisons, logic and selection.
import * as lib from '../../lib/index.js';
import { ones, type Tensor } from '../../lib/index.js';
import { map } from '../support/oracle.js';
import type { CaseFile, InputSpec, OpCases } from './cases.js';

type Unary = (x: Tensor) => Tensor;
type Values = Pick<InputSpec, 'values' | 'low' | 'high'>;

const clear: Values = { values: 'uniform', low: 0.1, high: 3 };
const integerDTypes = ['int32', 'int64', 'uint8'] as const;

type Binary = (a: Tensor, b: Tensor) => Tensor;

// Equal shapes, a repeated row, a repeated column, one element, both sides broadcast, nothing.
const pairs: [number[], number[]][] = [
  [
    [3, 37],
    [3, 37],
  ],
  [[4, 5, 7], [7]],
  [
    [2, 1, 3],
    [2, 5, 1],
  ],
  [[3, 5], []],
  [[1], [2, 3]],
  [
    [2, 3, 4, 1, 2],
    [3, 1, 5, 1],
  ],
  [[0, 3], [3]],
  [[301, 3], [3]], // rows too short for a vector, over several tiles
  [
    [2, 150, 3],
    [2, 150, 1],
  ],
];

function binaryCases(
  name: string,
  run: Binary,
  formula: (a: number, b: number) => number,
  a: Values = {},
  b: Values = a,
): OpCases {
  return {
    op: name,
    cases: pairs.map(([left, right]) => ({
      name: `[${left.join(', ')}] with [${right.join(', ')}]`,
      inputs: { a: { shape: left, ...a }, b: { shape: right, ...b } },
      run: ({ a, b }) => run(a, b),
      reference: ({ a, b }) => map(formula, a, b),
    })),
    errors: [
      {
        name: 'shapes that do not broadcast',
        run: () => run(ones([2, 3]), ones([4])),
        message: new RegExp(`${name}: shapes \\[2, 3\\] and \\[4\\] do not broadcast`),
        error: lib.ShapeError,
      },
      {
        name: 'different dtypes',
        run: () => run(ones([2]), ones([2], { dtype: 'float64' })),
        message: new RegExp(`${name}: a is float32 but b is float64; convert one with .to`),
        error: lib.DTypeError,
      },
    ],
  };
}

const scalarCase = (
  name: string,
  run: Unary,
  formula: (x: number) => number,
  values: Values = {},
) => ({
  name,
  inputs: { x: { shape: [3, 11], ...values } },
  run: ({ x }: Record<string, Tensor>) => run(x),
  reference: ({ x }: Record<string, Parameters<typeof map>[1]>) => map(formula, x),
});

const integerCase = (name: string, run: Binary, formula: (a: number, b: number) => number) =>
  integerDTypes.map((dtype) => ({
    name: `${name} of ${dtype}`,
    inputs: {
      a: { shape: [5, 3], dtype, low: 4, high: 9 },
      b: { shape: [3], dtype, low: 0, high: 4 },
    },
    run: ({ a, b }: Record<string, Tensor>) => run(a, b),
    reference: ({ a, b }: Record<string, Parameters<typeof map>[1]>) => map(formula, a, b),
    tolerance: 'exact' as const,
  }));

const withCases = (base: OpCases, more: OpCases['cases']): OpCases => ({
  ...base,
  cases: [...base.cases, ...more],
});

const binary: OpCases[] = [
  withCases(
    binaryCases('add', lib.add, (a, b) => a + b),
    [
      scalarCase(
        'number on the right',
        (x) => lib.add(x, 2.5),
        (x) => x + 2.5,
      ),
      scalarCase(
        'number on the left',
        (x) => lib.add(2.5, x),
        (x) => x + 2.5,
      ),
      ...integerCase('sum', lib.add, (a, b) => a + b),
      {
        name: 'large and equal',
        inputs: { a: [4, 64, 64, 64], b: [4, 64, 64, 64] },
        run: ({ a, b }) => lib.add(a, b),
        dtypes: ['float32'],
        bench: 'only',
        bytes: 3 * 4 * (1 << 20),
      },
    ],
  ),
  withCases(
    binaryCases('sub', lib.sub, (a, b) => a - b),
    [
      scalarCase(
        'number on the right',
        (x) => lib.sub(x, 2.5),
        (x) => x - 2.5,
      ),
      scalarCase(
        'number on the left',
        (x) => lib.sub(2.5, x),
        (x) => 2.5 - x,
      ),
      ...integerCase('difference', lib.sub, (a, b) => a - b),
      {
        name: 'number from the smallest integers',
        inputs: { x: { shape: [3], dtype: 'uint8', values: [7, 8, 255] } },
        run: ({ x }) => lib.sub(x, 7),
        reference: () => [0, 1, 248],
        tolerance: 'exact',
      },
    ],
  ),
  withCases(
    binaryCases('mul', lib.mul, (a, b) => a * b),
    [
      scalarCase(
        'number',
        (x) => lib.mul(x, -1.5),
        (x) => -1.5 * x,
      ),
      ...integerCase('product', lib.mul, (a, b) => a * b),
    ],
  ),

  withCases(
    binaryCases('div', lib.div, (a, b) => a / b, {}, clear),
    [
      scalarCase(
        'number below',
        (x) => lib.div(x, 4),
        (x) => x / 4,
      ),
      scalarCase(
        'number above',
        (x) => lib.div(4, x),
        (x) => 4 / x,
        clear,
      ),
    ],
  ),
  withCases(binaryCases('pow', lib.pow, Math.pow, clear), [
    scalarCase(
      'square',
      (x) => lib.pow(x, 2),
      (x) => x * x,
    ),
    scalarCase('root', (x) => lib.pow(x, 0.5), Math.sqrt, clear),
    scalarCase(
      'of a number',
      (x) => lib.pow(2, x),
      (x) => 2 ** x,
    ),
    scalarCase(
      'zero',
      (x) => lib.pow(x, 0),
      () => 1,
    ),
  ]),
  withCases(binaryCases('maximum', lib.maximum, Math.max), [
    scalarCase(
      'number',
      (x) => lib.maximum(x, 0.25),
      (x) => Math.max(x, 0.25),
    ),
    scalarCase(
      'number on the left',
      (x) => lib.maximum(0.25, x),
      (x) => Math.max(x, 0.25),
    ),
    {
      name: 'NaN wins on either side',
      inputs: {
        a: { shape: [3], values: [NaN, 1, NaN], grad: false },
        b: { shape: [3], values: [2, NaN, NaN], grad: false },
      },
      run: ({ a, b }) => lib.maximum(a, b),
      reference: () => [NaN, NaN, NaN],
    },
  ]),
  withCases(binaryCases('minimum', lib.minimum, Math.min), [
    scalarCase(
      'number',
      (x) => lib.minimum(x, 0.25),
      (x) => Math.min(x, 0.25),
    ),
  ]),
];

const compare = (
  name: string,
  run: (a: Tensor, b: lib.Operand) => Tensor,
  holds: (a: number, b: number) => boolean,
): OpCases => {
  const formula = (a: number, b: number): number => Number(holds(a, b));
  const pairs = binaryCases(name, run, formula, { values: 'uniform', low: 0, high: 3 });
  const errors = [
    ...(pairs.errors ?? []),
    {
      name: 'a number that the dtype lacks',
      run: () => run(ones([2], { dtype: 'int32' }), 0.5),
      message: new RegExp(`${name}: 0.5 is no int32; convert the tensor with .to\\('float32'\\)`),
      error: lib.DTypeError,
    },
  ];
  const base = { ...pairs, errors };
  return withCases(
    { ...base, cases: base.cases.map((each) => ({ ...each, tolerance: 'exact', grad: false })) },
    [
      {
        ...scalarCase(
          'number',
          (x) => run(x, 0),
          (x) => formula(x, 0),
        ),
        tolerance: 'exact',
        grad: false,
      },
      ...integerCase('relation', run, formula),
      {
        name: 'NaN compares with nothing',
        inputs: {
          a: { shape: [3], values: [NaN, 1, NaN], grad: false },
          b: { shape: [3], values: [NaN, NaN, 1], grad: false },
        },
        run: ({ a, b }) => run(a, b),
        reference: ({ a, b }) => map(formula, a, b),
        tolerance: 'exact',
      },
    ],
  );
};

const logical = (name: string, run: Binary, holds: (a: number, b: number) => boolean): OpCases => ({
  op: name,
  cases: [
    {
      name: 'broadcast',
      inputs: { a: { shape: [4, 5], dtype: 'bool' }, b: { shape: [5], dtype: 'bool' } },
      run: ({ a, b }) => run(a, b),
      reference: ({ a, b }) => map((p, q) => Number(holds(p, q)), a, b),
      tolerance: 'exact',
    },
  ],
  errors: [
    {
      name: 'numbers',
      run: () => run(ones([2]), ones([2])),
      message: new RegExp(`${name}: a must be bool`),
      error: lib.DTypeError,
    },
  ],
});

export default [
  ...binary,
  {
    op: 'lerp',
    cases: [
      {
        name: 'a weight per row',
        inputs: { a: [4, 5], b: [4, 5], weight: [4, 1] },
        run: ({ a, b, weight }) => lib.lerp(a, b, weight),
        reference: ({ a, b, weight }) => map((p, q, w) => p + w * (q - p), a, b, weight),
      },
      {
        name: 'a number',
        inputs: { a: [7], b: [7] },
        run: ({ a, b }) => lib.lerp(a, b, 0.25),
        reference: ({ a, b }) => map((p, q) => 0.75 * p + 0.25 * q, a, b),
      },
    ],
  },
  compare('eq', lib.eq, (a, b) => a === b),
  compare('ne', lib.ne, (a, b) => a !== b),
  compare('lt', lib.lt, (a, b) => a < b),
  compare('le', lib.le, (a, b) => a <= b),
  compare('gt', lib.gt, (a, b) => a > b),
  compare('ge', lib.ge, (a, b) => a >= b),
  logical('logicalAnd', lib.logicalAnd, (a, b) => a !== 0 && b !== 0),
  logical('logicalOr', lib.logicalOr, (a, b) => a !== 0 || b !== 0),
  logical('logicalXor', lib.logicalXor, (a, b) => (a !== 0) !== (b !== 0)),
  {
    op: 'logicalNot',
    cases: [
      {
        name: 'opposite',
        inputs: { x: { shape: [9], dtype: 'bool' } },
        run: ({ x }) => lib.logicalNot(x),
        reference: ({ x }) => map((p) => Number(p === 0), x),
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'where',
    cases: [
      {
        name: 'a mask per pixel of three channels',
        inputs: { c: { shape: [2, 101, 1], dtype: 'bool' }, a: [2, 101, 3], b: [3] },
        run: ({ c, a, b }) => lib.where(c, a, b),
        reference: ({ c, a, b }) => map((p, q, r) => (p ? q : r), c, a, b),
      },
      {
        name: 'all three broadcast',
        inputs: { c: { shape: [4, 1, 3], dtype: 'bool' }, a: [5, 1], b: [4, 5, 3] },
        run: ({ c, a, b }) => lib.where(c, a, b),
        reference: ({ c, a, b }) => map((p, q, r) => (p ? q : r), c, a, b),
      },
      {
        name: 'with a number',
        inputs: { c: { shape: [7], dtype: 'bool' }, a: [7] },
        run: ({ c, a }) => lib.where(c, a, -1),
        reference: ({ c, a }) => map((p, q) => (p ? q : -1), c, a),
      },
    ],
    errors: [
      {
        name: 'a condition of numbers',
        run: () => lib.where(ones([2]), ones([2]), 0),
        message: /where: condition must be bool, got Tensor\(float32, \[2\]\)/,
        error: lib.DTypeError,
      },
    ],
  },
] satisfies CaseFile;
