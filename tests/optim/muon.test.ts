import { expect, test } from 'vitest';
import {
  engineInfo,
  manualSeed,
  Muon,
  randn,
  setNumThreads,
  tensor,
  zeros,
  type DType,
  type MuonOptions,
  type Tensor,
} from '../../lib/index.js';

type Matrix = number[][];
const product = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const transposed = (a: Matrix): Matrix => a[0].map((_, j) => a.map((row) => row[j]));
const combined = (...terms: [number, Matrix][]): Matrix =>
  terms[0][1].map((row, i) => row.map((_, j) => terms.reduce((s, [k, m]) => s + k * m[i][j], 0)));
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

const defaults: MuonOptions = {
  lr: 1e-3,
  weightDecay: 0.1,
  momentum: 0.95,
  nesterov: true,
  nsCoefficients: [3.4445, -4.775, 2.0315],
  eps: 1e-7,
  nsSteps: 5,
  adjustLr: 'original',
};

// The definition, in float64 and always over X·Xᵀ of the rows.
function orthogonalized(u: Matrix, { nsCoefficients: [a, b, c], nsSteps, eps }: MuonOptions) {
  const norm = Math.max(eps, Math.hypot(...u.flat()));
  let x = combined([1 / norm, u]);
  for (let i = 0; i < nsSteps; ++i) {
    const s = product(x, transposed(x));
    x = combined([a, x], [b, product(s, x)], [c, product(s, product(s, x))]);
  }
  return x;
}

function oracle(p: Matrix, gradients: Matrix[], options: MuonOptions): Matrix {
  const { lr, weightDecay, momentum, nesterov, adjustLr } = options;
  const [rows, columns] = [p.length, p[0].length];
  const rate =
    lr *
    (adjustLr === 'original'
      ? Math.sqrt(Math.max(1, rows / columns))
      : 0.2 * Math.sqrt(Math.max(rows, columns)));
  let buffer = combined([0, p]);
  for (const g of gradients) {
    buffer = combined([momentum, buffer], [1 - momentum, g]);
    const u = nesterov ? combined([1 - momentum, g], [momentum, buffer]) : buffer;
    p = combined([1 - lr * weightDecay, p], [-rate, orthogonalized(u, options)]);
  }
  return p;
}

const matrix = (values: readonly number[], rows: number): Matrix => {
  const columns = values.length / rows;
  return Array.from({ length: rows }, (_, i) => values.slice(i * columns, (i + 1) * columns));
};

async function run(shape: number[], dtype: DType, given: Partial<MuonOptions>) {
  const device = dtype === 'float64' ? 'cpu' : undefined; // which has no other home
  const p = randn(shape, { dtype, device });
  const start = await numbers(p);
  const optimizer = new Muon([p], given);
  const gradients: Matrix[] = [];
  for (let step = 0; step < 3; ++step) {
    p.grad = randn(shape, { dtype, device });
    gradients.push(matrix(await numbers(p.grad), shape[0]));
    optimizer.step();
  }
  const expected = oracle(matrix(start, shape[0]), gradients, { ...defaults, ...given });
  return { actual: await numbers(p), expected: expected.flat(), start };
}

// Tall, wide, square, a convolution's axes, one row, one column, one element, and sizes beyond one tile.
const shapes = [
  [5, 3],
  [3, 7],
  [4, 4],
  [4, 3, 3, 2],
  [1, 6],
  [6, 1],
  [1, 1],
  [37, 21],
  [19, 50],
  [70, 8, 4],
  [33, 150],
];
const variants: Partial<MuonOptions>[] = [
  {},
  { lr: 0.1, adjustLr: 'matchRmsAdamw', weightDecay: 0.5 },
  { lr: 0.1, nesterov: false, momentum: 0.5, nsSteps: 3, nsCoefficients: [2, -1.5, 0.5] },
  { nsSteps: 0 },
  { nsSteps: 1 },
];

test.each(shapes.map((shape) => ({ shape })))('three steps on $shape', async ({ shape }) => {
  for (const options of variants)
    for (const [dtype, tolerance] of [
      ['float64', 1e-11],
      ['float32', 2e-4],
    ] as const) {
      const { actual, expected, start } = await run(shape, dtype, options);
      const moved = Math.max(...expected.map((value, i) => Math.abs(value - start[i])));
      actual.forEach((value, i) =>
        expect(Math.abs(value - expected[i])).toBeLessThanOrEqual(
          tolerance * moved + 3e-7 * (dtype === 'float32' ? 4 : 0),
        ),
      );
    }
});

test('takes the steps of torch.optim.Muon with its bfloat16 products made float64', async () => {
  const start = Array.from({ length: 24 }, (_, i) => ((i * 7) % 11) / 11 - 0.5);
  const after = {
    original: [
      -0.604271, 0.040321, -0.291503, 0.334889, 0.083932, -0.115435, 0.249881, -0.185333, -0.447325,
      0.18658, -0.095641, -0.261764, 0.176053, -0.332054, 0.291022, -0.037551, -0.380682, 0.449148,
      0.149261, -0.458279, 0.134009, -0.19888, -0.538705, 0.137228,
    ],
    matchRmsAdamw: [
      -0.524066, 0.093135, -0.244945, 0.364975, 0.059242, -0.225856, 0.279635, -0.099802, -0.40995,
      0.202976, -0.115263, -0.387063, 0.147428, -0.261166, 0.347428, 0.010649, -0.331955, 0.359341,
      0.034035, -0.414332, 0.181948, -0.156558, -0.49784, 0.131898,
    ],
  };
  for (const adjustLr of ['original', 'matchRmsAdamw'] as const) {
    const p = tensor(start, { shape: [6, 4], requiresGrad: true });
    const optimizer = new Muon([p], { lr: 0.1, weightDecay: 0.2, momentum: 0.9, adjustLr });
    for (let step = 0; step < 3; ++step) {
      p.grad = tensor(
        start.map((_, i) => Math.sin(i * (step + 1) + step)),
        { shape: [6, 4] },
      );
      optimizer.step();
    }
    (await numbers(p)).forEach((value, i) => expect(value).toBeCloseTo(after[adjustLr][i], 5));
  }
});

test('any number of threads takes the same steps, bit for bit', async () => {
  const { threads } = engineInfo();
  const results: string[] = [];
  for (const count of [1, 2, 5]) {
    setNumThreads(count);
    manualSeed(1);
    const weights = [5, 40, 96].map((rows) => randn([rows, 33]));
    for (const weight of weights) weight.grad = randn(weight.shape);
    new Muon(weights).step();
    results.push(JSON.stringify(await Promise.all(weights.map(numbers))));
  }
  setNumThreads(threads);
  expect(new Set(results).size).toBe(1);
});

test.each([1e25, 1e-25])('gradients times %d give the same step', async (factor) => {
  const step = async (scale: number) => {
    manualSeed(3);
    const p = zeros([6, 20], { requiresGrad: true });
    p.grad = randn([6, 20]).mul(scale);
    new Muon([p], { lr: 1, eps: 1e-30 }).step();
    return numbers(p);
  };
  const expected = await step(1);
  (await step(factor)).forEach((value, i) => expect(value).toBeCloseTo(expected[i], 4));
});

test('16-bit weights move on float32 masters', async () => {
  const [rows, columns] = [8, 5];
  const p = tensor(new Float32Array(rows * columns).fill(1), {
    shape: [rows, columns],
    dtype: 'bfloat16',
    requiresGrad: true,
  });
  const optimizer = new Muon([p], { lr: 1e-4, weightDecay: 0 });
  for (let step = 0; step < 4; ++step) {
    p.grad = randn([rows, columns], { dtype: 'bfloat16' });
    optimizer.step();
  }
  // too little for bfloat16, but kept
  expect(await numbers(p)).toEqual(new Array(rows * columns).fill(1));
  const masters = await numbers(optimizer.stateDict().tensors['master.0']);
  expect(masters.every((value) => value !== 1 && Math.abs(value - 1) < 1e-3)).toBe(true);
});

test('no elements and no gradient are nothing to do; vectors and odd options are refused', () => {
  const empty = tensor(new Float32Array(0), { shape: [0, 3], requiresGrad: true });
  empty.grad = tensor(new Float32Array(0), { shape: [0, 3] });
  new Muon([empty]).step();
  new Muon([randn([2, 2])]).step();
  const vector = randn([3]);
  expect(() => new Muon([vector])).toThrow(/matrices, got one of shape \[3\].*AdamW/);
  const weight = randn([2, 2]);
  expect(() => new Muon([weight], { momentum: 1 })).toThrow(/momentum in \[0, 1\).*momentum 1/);
  expect(() => new Muon([weight], { nsSteps: 101 })).toThrow(/0 to 100, got 101/);
  expect(() => new Muon([weight], { adjustLr: 'adamw' as never })).toThrow(/got 'adamw'/);
});
