import * as lib from '../../lib/index.js';
import { ones, type Tensor } from '../../lib/index.js';
import { map } from '../support/oracle.js';
import type { CaseFile, InputSpec, OpCases } from './cases.js';

type Unary = (x: Tensor) => Tensor;
type Values = Pick<InputSpec, 'values' | 'low' | 'high'>;

const clear: Values = { values: 'uniform', low: 0.1, high: 3 };
// Inside the functions' curved part, and on both sides of zero without touching it.
const extremes = [-100, -88, -20, -4, -1, -0.3, -1e-8, 1e-8, 0.3, 1, 4, 20, 88, 100];

const integerDTypes = ['int32', 'int64', 'uint8'] as const;

// Sizes around the vector widths, one element, none, and an image.
function unaryCases(
  name: string,
  run: Unary,
  formula: (x: number) => number,
  values: Values = {},
): OpCases {
  const reference = ({ x }: { x: lib.Tensor } | Record<string, Parameters<typeof map>[1]>) =>
    map(formula, x as never);
  const sized = (shape: number[]) => ({
    name: `[${shape.join(', ')}]`,
    inputs: { x: { shape, ...values } },
    run: ({ x }: Record<string, Tensor>) => run(x),
    reference,
  });
  return {
    op: name,
    cases: [
      { ...sized([37]), bench: false },
      sized([1]),
      sized([]),
      sized([0, 3]),
      sized([2, 5, 3, 7]),
      {
        ...sized([4, 64, 64, 64]),
        grad: false,
        dtypes: ['float32'],
        bench: 'only',
        bytes: 2 * 4 * (1 << 20),
      },
    ],
    errors: [
      {
        name: 'not a tensor',
        run: () => run(3 as never),
        message: new RegExp(`${name}: x must be a Tensor, got number 3`),
      },
    ],
  };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
// The alternating series near zero, the continued fraction of erfc where the series would cancel.
function erf(x: number): number {
  const z = Math.abs(x);
  if (z > 2) {
    let fraction = z;
    for (let n = 120; n >= 1; --n) fraction = z + n / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * fraction));
  }
  let [term, sum] = [x, x];
  for (let n = 1; n < 60; ++n) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
const halfToEven = (x: number): number => {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
};

const unary: OpCases[] = [
  unaryCases('neg', lib.neg, (x) => -x),
  unaryCases('abs', lib.abs, Math.abs),
  { ...unaryCases('sign', lib.sign, Math.sign) },
  unaryCases('square', lib.square, (x) => x * x),
  unaryCases('sqrt', lib.sqrt, Math.sqrt, clear),
  unaryCases('rsqrt', lib.rsqrt, (x) => 1 / Math.sqrt(x), clear),
  unaryCases('reciprocal', lib.reciprocal, (x) => 1 / x, clear),
  unaryCases('exp', lib.exp, Math.exp),
  unaryCases('expm1', lib.expm1, Math.expm1),
  unaryCases('log', lib.log, Math.log, clear),
  unaryCases('log1p', lib.log1p, Math.log1p, clear),
  unaryCases('sin', lib.sin, Math.sin),
  unaryCases('cos', lib.cos, Math.cos),
  unaryCases('floor', lib.floor, Math.floor),
  unaryCases('ceil', lib.ceil, Math.ceil),
  unaryCases('round', lib.round, halfToEven),
  unaryCases('erf', lib.erf, erf),
  unaryCases('tanh', lib.tanh, Math.tanh),
  unaryCases('sigmoid', lib.sigmoid, sigmoid),
  unaryCases('softplus', lib.softplus, (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  unaryCases('silu', lib.silu, (x) => x * sigmoid(x)),
  unaryCases('gelu', lib.gelu, gelu),
  unaryCases('geluTanh', lib.geluTanh, (x) => {
    return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  }),
  unaryCases('quickGelu', lib.quickGelu, (x) => x * sigmoid(1.702 * x)),
  unaryCases('relu', lib.relu, (x) => Math.max(x, 0)),
  unaryCases(
    'leakyRelu',
    (x) => lib.leakyRelu(x, 0.2),
    (x) => (x > 0 ? x : 0.2 * x),
  ),
];

/** Forward at the ends of the number range, where formulas overflow. */
const atExtremes = (name: string, run: Unary, formula: (x: number) => number): OpCases => ({
  op: name,
  cases: [
    {
      name: 'extremes',
      inputs: { x: { shape: [extremes.length], values: extremes, grad: false } },
      run: ({ x }) => run(x),
      reference: ({ x }) => map(formula, x),
      dtypes: ['float32', 'float64'],
    },
  ],
});

const merge = (first: OpCases, second: OpCases): OpCases => ({
  ...first,
  cases: [...first.cases, ...second.cases],
});

const steady: [string, Unary, (x: number) => number][] = [
  ['tanh', lib.tanh, Math.tanh],
  ['sigmoid', lib.sigmoid, sigmoid],
  ['silu', lib.silu, (x) => x * sigmoid(x)],
  ['softplus', lib.softplus, (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))],
  ['erf', lib.erf, erf],
];
for (const [name, run, formula] of steady) {
  const index = unary.findIndex((each) => each.op === name);
  unary[index] = merge(unary[index], atExtremes(name, run, formula));
}

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
  ]),
  withCases(binaryCases('maximum', lib.maximum, Math.max), [
    scalarCase(
      'number',
      (x) => lib.maximum(x, 0.25),
      (x) => Math.max(x, 0.25),
    ),
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
  const base = binaryCases(name, run, formula, { values: 'uniform', low: 0, high: 3 });
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
  ...unary,
  {
    op: 'clamp',
    cases: [
      scalarCase(
        'both limits',
        (x) => lib.clamp(x, -0.5, 0.7),
        (x) => Math.min(0.7, Math.max(-0.5, x)),
      ),
      scalarCase(
        'from below',
        (x) => lib.clamp(x, 0.1),
        (x) => Math.max(0.1, x),
      ),
    ],
    errors: [
      {
        name: 'limits in the wrong order',
        run: () => lib.clamp(ones([1]), 2, 1),
        message: /clamp: min \(2\) must not exceed max \(1\)/,
      },
    ],
  },
  ...binary,
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
    op: 'isNaN',
    cases: [
      {
        name: 'finds them',
        inputs: { x: { shape: [4], values: [NaN, 0, Infinity, -1], grad: false } },
        run: ({ x }) => lib.isNaN(x),
        reference: ({ x }) => map((v) => Number(Number.isNaN(v)), x),
        tolerance: 'exact',
      },
    ],
  },
  {
    op: 'where',
    cases: [
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
