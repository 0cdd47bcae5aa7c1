import * as lib from '../../lib/index.js';
import { ones, type Axes, type ReduceOptions, type Tensor } from '../../lib/index.js';
import { average, reduce, total, type NdArray } from '../support/oracle.js';
import type { CaseFile, InputSpec, OpCase, OpCases } from './cases.js';

type Reduction = (x: Tensor, axis?: Axes, options?: ReduceOptions) => Tensor;
type Fold = (values: number[]) => number;

// All axes, the last, the first, one in the middle, two apart, one element, long rows.
const plans: { shape: number[]; axis?: number | number[]; keepDims?: boolean }[] = [
  { shape: [3, 5, 7] },
  { shape: [4, 37], axis: -1 },
  { shape: [37, 4], axis: 0, keepDims: true },
  { shape: [2, 5, 3], axis: 1 },
  { shape: [2, 3, 4, 5], axis: [0, 2] },
  { shape: [2, 3, 4], axis: [1, 2], keepDims: true },
  { shape: [1] },
  { shape: [] },
];

// Every way through an engine's loops: one long row with a rest, rows for a few lanes, for a warp and for a
// block, columns that are deep, odd or few, axes between others.
const loops: typeof plans = [
  { shape: [20011] },
  { shape: [600, 20], axis: 1 },
  { shape: [3, 1000], axis: 1 },
  { shape: [5, 2600], axis: 1 },
  { shape: [2100, 24], axis: 0 },
  { shape: [2100, 5], axis: 0 },
  { shape: [3, 1100], axis: 0 },
  { shape: [6, 4, 10, 16], axis: [0, 2] },
  { shape: [6, 4, 10, 16], axis: [1, 3] },
  { shape: [4, 7, 3, 5, 2, 9], axis: [0, 2, 4] },
  { shape: [4, 7, 3, 5, 2, 9], axis: [1, 3, 5] },
];

const axesOf = (shape: number[], axis?: number | number[]): number[] =>
  axis === undefined ? shape.map((_, i) => i) : [axis].flat();

function reduction(
  name: string,
  run: Reduction,
  fold: Fold,
  spec: Partial<InputSpec> & Partial<Pick<OpCase, 'tolerance'>> = {},
): OpCases {
  const { tolerance, ...values } = spec;
  const long = spec.values ? [] : loops.map((plan) => ({ ...plan, grad: false }));
  return {
    op: name,
    cases: [...plans, ...long].map(({ shape, axis, keepDims, ...rest }) => ({
      ...rest,
      name: `[${shape.join(', ')}] over ${axis === undefined ? 'all' : `[${[axis].flat().join(', ')}]`}`,
      inputs: { x: { shape, ...values } },
      run: ({ x }) => run(x, axis, { keepDims }),
      reference: ({ x }: Record<string, NdArray>) => reduce(x, axesOf(shape, axis), fold, keepDims),
      reduction: shape.reduce((a, b) => a * b, 1),
      tolerance,
    })),
    errors: [
      {
        name: 'an axis that does not exist',
        run: () => run(ones([2, 3]), 2),
        message: new RegExp(`${name}: axis 2 does not exist in 2 dimensions`),
        error: lib.ShapeError,
      },
      {
        name: 'an axis twice',
        run: () => run(ones([2, 3]), [0, -2]),
        message: new RegExp(`${name}: axis \\[0, -2\\] names one axis twice`),
      },
    ],
  };
}

const only = (
  name: string,
  inputs: OpCase['inputs'],
  run: OpCase['run'],
  reference: OpCase['reference'],
): OpCase => ({
  name,
  inputs,
  run,
  reference,
});
const also = (base: OpCases, ...cases: OpCase[]): OpCases => ({
  ...base,
  cases: [...base.cases, ...cases],
});

const product: Fold = (values) => values.reduce((a, b) => a * b, 1);
const spread = (values: number[], correction: number): number => {
  const centre = average(values);
  return total(values.map((v) => (v - centre) ** 2)) / Math.max(0, values.length - correction);
};
// One element has no unbiased variance: those plans are left out.
const several = (base: OpCases): OpCases => ({ ...base, cases: base.cases.slice(0, 6) });

export default [
  also(
    reduction('sum', lib.sum, total),
    only(
      'of nothing is 0',
      { x: [0, 3] },
      ({ x }) => lib.sum(x, 0),
      () => [0, 0, 0],
    ),
    {
      name: 'of bool counts',
      inputs: { x: { shape: [3, 50], dtype: 'bool' } },
      run: ({ x }) => lib.sum(x, 1),
      reference: ({ x }) => reduce(x, [1], total),
      tolerance: 'exact',
    },
    {
      name: 'of integers, in int64',
      inputs: { x: { shape: [40, 130], dtype: 'int32', low: -(2 ** 31), high: 2 ** 31 } },
      run: ({ x }) => lib.sum(x, 0),
      reference: ({ x }) => reduce(x, [0], total),
      tolerance: 'exact',
    },
    {
      name: 'of a view that begins between packs',
      inputs: { x: { shape: [3, 1003] } },
      run: ({ x }) => lib.sum(lib.select(x, 0, 1)),
      reference: ({ x }) => [total(Array.from(x.data.subarray(1003, 2006)))],
      reduction: 1003,
      grad: false,
    },
    {
      name: 'of many equal numbers stays exact enough',
      inputs: { x: { shape: [1 << 18], values: 'uniform', low: 0.9, high: 1.1, grad: false } },
      run: ({ x }) => lib.sum(x),
      reference: ({ x }) => [total(Array.from(x.data))],
      dtypes: ['float32'],
      bench: true,
      bytes: 4 << 18,
    },
  ),
  also(reduction('mean', lib.mean, average), {
    name: 'of nothing is NaN',
    inputs: { x: { shape: [0, 2], grad: false } },
    run: ({ x }) => lib.mean(x, 0),
    reference: () => [NaN, NaN],
  }),
  also(reduction('prod', lib.prod, product, { values: 'uniform', low: 0.7, high: 1.4 }), {
    name: 'rows with no, one and two zeros',
    inputs: { x: { shape: [3, 3], values: [1, 2, 3, 4, 0, 5, 0, 6, 0] } },
    run: ({ x }) => lib.prod(x, 1),
    reference: ({ x }) => reduce(x, [1], product),
  }),
  also(
    reduction('max', lib.max, (values) => Math.max(...values)),
    {
      name: 'NaN wins',
      inputs: { x: { shape: [2, 3], values: [1, NaN, 2, 3, 4, 5], grad: false } },
      run: ({ x }) => lib.max(x, 1),
      reference: () => [NaN, 5],
    },
  ),
  also(
    reduction('min', lib.min, (values) => Math.min(...values)),
    {
      name: 'of integers',
      inputs: { x: { shape: [50, 6], dtype: 'int32', low: -9, high: 100 } },
      run: ({ x }) => lib.min(x, 1),
      reference: ({ x }) => reduce(x, [1], (values) => Math.min(...values)),
      tolerance: 'exact',
    },
  ),
  several(reduction('variance', lib.variance, (values) => spread(values, 1))),
  also(
    several(reduction('std', lib.std, (values) => Math.sqrt(spread(values, 1)))),
    only(
      'biased',
      { x: [4, 9] },
      ({ x }) => lib.std(x, 1, { correction: 0 }),
      ({ x }) => reduce(x, [1], (values) => Math.sqrt(spread(values, 0))),
    ),
  ),
  also(
    reduction('norm', lib.norm, (values) => Math.hypot(...values)),
    {
      name: 'of squares beyond a 16-bit range',
      inputs: { x: { shape: [4], values: [300, -400, 0, 0] } },
      run: ({ x }) => lib.norm(x),
      reference: () => [500],
    },
  ),
  reduction('any', lib.any, (values) => Number(values.some(Boolean)), {
    dtype: 'bool',
    tolerance: 'exact',
  }),
  reduction('all', lib.all, (values) => Number(values.every(Boolean)), {
    dtype: 'bool',
    tolerance: 'exact',
  }),
] satisfies CaseFile;
