import { cast, ones, transfer, type DType } from '../../lib/index.js';
import { map } from '../support/oracle.js';
import type { CaseFile, OpCase, OpCases } from './cases.js';

const to = (dtype: DType, formula: (x: number) => number, values: number[]): OpCase => ({
  name: `to ${dtype}`,
  inputs: { x: { shape: [values.length], values, grad: false } },
  run: ({ x }) => cast(x, dtype),
  reference: ({ x }) => map(formula, x),
  tolerance: 'exact',
  dtypes: ['float32', 'float64'],
});

const castCases: OpCases = {
  op: 'cast',
  cases: [
    to('int32', Math.trunc, [-2.7, -0.5, 0, 0.5, 2.7, 1000]),
    to('int64', Math.trunc, [-2.7, 0, 2.7, 4096]),
    to('uint8', (x) => Math.min(255, Math.max(0, Math.trunc(x))), [-3, 0.9, 254.6, 300]),
    to('bool', (x) => Number(x !== 0), [0, -0, 0.5, -2]),
    {
      name: 'to float64 and back, with a gradient',
      inputs: { x: [3, 5] },
      run: ({ x }) => cast(cast(x, 'float64'), x.dtype),
      reference: ({ x }) => x,
    },
    {
      name: 'to bfloat16 rounds to nearest even',
      inputs: {
        x: { shape: [4], values: [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -9], grad: false },
      },
      run: ({ x }) => cast(x, 'bfloat16'),
      reference: () => [1, 1, 1 + 2 ** -6, -1],
      tolerance: 'exact',
      dtypes: ['float32', 'float64'],
    },
    {
      name: 'to bfloat16 and back, past small caches',
      inputs: { x: [5, 13400] },
      run: ({ x }) => cast(cast(x, 'bfloat16'), x.dtype),
      dtypes: ['float32'],
      grad: false,
      large: true,
    },
    {
      name: 'nothing',
      inputs: { x: [0, 2] },
      run: ({ x }) => cast(x, 'int32'),
      reference: ({ x }) => x,
      grad: false,
    },
  ],
  errors: [
    {
      name: 'an unknown dtype',
      run: () => cast(ones([1]), 'float8' as DType),
      message: /cast: unknown dtype 'float8'; one of float32/,
    },
  ],
};

const transferCases: OpCases = {
  op: 'transfer',
  cases: [
    {
      name: 'to the CPU and back, with a gradient',
      inputs: { x: [3, 7] },
      run: ({ x }, { device }) => transfer(transfer(x, 'cpu').mul(2), device),
      reference: ({ x }) => map((value) => 2 * value, x),
    },
    {
      name: 'indices',
      inputs: { x: { shape: [5], dtype: 'int64' } },
      run: ({ x }, { device }) => transfer(transfer(x, 'cpu'), device),
      reference: ({ x }) => x,
      tolerance: 'exact',
    },
    {
      name: 'nothing',
      inputs: { x: [0, 2] },
      run: ({ x }, { device }) => transfer(transfer(x, 'cpu'), device),
      reference: ({ x }) => x,
      grad: false,
    },
  ],
  errors: [
    {
      name: 'a device that is not there',
      run: () => transfer(ones([1]), 'tpu:0'),
      message: /no device 'tpu:0'; available: cpu/,
    },
    {
      name: 'what is neither a dtype nor a device',
      run: () => ones([1]).to('float8'),
      message: /to: 'float8' is neither a dtype \(float32, .*\) nor a device \(cpu/,
    },
  ],
};

export default [castCases, transferCases] satisfies CaseFile;
