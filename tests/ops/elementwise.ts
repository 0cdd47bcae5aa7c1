// Elementwise ops of one operand.
import * as lib from '../../lib/index.js';
import { ones, type Tensor } from '../../lib/index.js';
import { at, generate, map } from '../support/oracle.js';
import type { CaseFile, InputSpec, OpCases } from './cases.js';

type Unary = (x: Tensor) => Tensor;
type Values = Pick<InputSpec, 'values' | 'low' | 'high'>;

const clear: Values = { values: 'uniform', low: 0.1, high: 3 };
// Inside the functions' curved part, and on both sides of zero without touching it.
const extremes = [-100, -88, -20, -4, -1, -0.3, -1e-8, 1e-8, 0.3, 1, 4, 20, 88, 100];

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
const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
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
  unaryCases('geluTanh', lib.geluTanh, geluTanh),
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
  ['gelu', lib.gelu, gelu],
  ['geluTanh', lib.geluTanh, geluTanh],
  ['quickGelu', lib.quickGelu, (x) => x * sigmoid(1.702 * x)],
  ['expm1', lib.expm1, Math.expm1],
  ['sin', lib.sin, Math.sin],
  ['cos', lib.cos, Math.cos],
];
for (const [name, run, formula] of steady) {
  const index = unary.findIndex((each) => each.op === name);
  unary[index] = merge(unary[index], atExtremes(name, run, formula));
}

export default [
  ...unary,
  {
    op: 'clamp',
    cases: [
      {
        name: 'both limits',
        inputs: { x: [3, 11] },
        run: ({ x }) => lib.clamp(x, -0.5, 0.7),
        reference: ({ x }) => map((v) => Math.min(0.7, Math.max(-0.5, v)), x),
      },
      {
        name: 'from below, NaN stays',
        inputs: { x: { shape: [4], values: [-1, NaN, 0.5, 3], grad: false } },
        run: ({ x }) => lib.clamp(x, 0),
        reference: () => [0, NaN, 0.5, 3],
      },
      {
        name: 'integers from below',
        inputs: { x: { shape: [3], dtype: 'int64', values: [-5, 2, 2 ** 40] } },
        run: ({ x }) => lib.clamp(x, 0),
        reference: () => [0, 2, 2 ** 40],
        tolerance: 'exact',
      },
    ],
    errors: [
      {
        name: 'limits in the wrong order',
        run: () => lib.clamp(ones([1]), 2, 1),
        message: /clamp: min \(2\) must not exceed max \(1\)/,
      },
      {
        name: 'a limit that the dtype lacks',
        run: () => lib.clamp(ones([1], { dtype: 'int32' }), 0.5),
        message: /clamp: 0.5 is no int32; convert the tensor with .to\('float32'\)/,
        error: lib.DTypeError,
      },
    ],
  },
  {
    op: 'geglu',
    cases: [
      {
        name: 'odd halves',
        inputs: { x: [3, 2, 74] },
        run: ({ x }) => lib.geglu(x),
        reference: ({ x }) =>
          generate([3, 2, 37], (i, j, c) => at(x, i, j, c) * gelu(at(x, i, j, 37 + c))),
      },
      {
        name: 'past small caches',
        inputs: { x: [90, 1504] },
        run: ({ x }) => lib.geglu(x),
        reference: ({ x }) => generate([90, 752], (i, c) => at(x, i, c) * gelu(at(x, i, 752 + c))),
        dtypes: ['float32'],
        large: true,
      },
      {
        name: 'nothing',
        inputs: { x: [0, 4] },
        run: ({ x }) => lib.geglu(x),
        reference: () => ({ data: new Float64Array(0), shape: [0, 2] }),
      },
    ],
    errors: [
      {
        name: 'an odd last axis',
        run: () => lib.geglu(ones([2, 5])),
        message: /geglu: the last axis must be even.*\[2, 5\]/,
        error: lib.ShapeError,
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
    op: 'isFinite',
    cases: [
      {
        name: 'tells infinities and NaN',
        inputs: { x: { shape: [5], values: [NaN, 0, Infinity, -1, -Infinity], grad: false } },
        run: ({ x }) => lib.isFinite(x),
        reference: ({ x }) => map((v) => Number(Number.isFinite(v)), x),
        tolerance: 'exact',
      },
    ],
  },
] satisfies CaseFile;
