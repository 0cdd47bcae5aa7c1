import { expect, test } from 'vitest';
import {
  AvgPool2d,
  BatchNorm2d,
  Conv2d,
  Dropout,
  Embedding,
  GELU,
  GroupNorm,
  Identity,
  LayerNorm,
  LeakyReLU,
  Linear,
  MaxPool2d,
  ReLU,
  Sequential,
  SiLU,
  Tanh,
  tensor,
  UpsampleNearest2x,
  type Generator,
} from '../../lib/index.js';
import { testModule } from './module_contract.js';

/** Normal input of one shape. */
const normal = (shape: number[]) => (generator: Generator) => [generator.normal(shape)];

testModule({
  name: 'Linear',
  make: (generator) => new Linear(5, 3, { generator }),
  inputs: normal([2, 4, 5]),
  output: [2, 4, 3],
  keys: { weight: [3, 5], bias: [3] },
  parameters: 18,
});

testModule({
  name: 'Linear without bias, stored as a convolution',
  make: (generator) => new Linear(5, 3, { generator, bias: false, storedAs: 'conv1d' }),
  inputs: normal([1, 5]),
  output: [1, 3],
  keys: { weight: [3, 5, 1] },
  parameters: 15,
});

testModule({
  name: 'Conv2d',
  make: (generator) => new Conv2d(3, 6, { kernelSize: 3, padding: 1, generator }),
  inputs: normal([2, 5, 7, 3]),
  output: [2, 5, 7, 6],
  keys: { weight: [6, 3, 3, 3], bias: [6] },
  parameters: 168,
});

testModule({
  name: 'Conv2d with groups, stride and a wide kernel',
  make: (generator) =>
    new Conv2d(4, 6, { kernelSize: [1, 3], stride: 2, groups: 2, bias: false, generator }),
  inputs: normal([1, 5, 7, 4]),
  output: [1, 3, 3, 6],
  keys: { weight: [6, 2, 1, 3] },
  parameters: 36,
});

testModule({
  name: 'GroupNorm',
  make: () => new GroupNorm(2, 6, { activation: 'silu' }),
  inputs: normal([2, 3, 5, 6]),
  output: [2, 3, 5, 6],
  keys: { weight: [6], bias: [6] },
  parameters: 12,
});

testModule({
  name: 'LayerNorm',
  make: () => new LayerNorm(6),
  inputs: normal([2, 3, 6]),
  output: [2, 3, 6],
  keys: { weight: [6], bias: [6] },
  parameters: 12,
});

testModule({
  name: 'BatchNorm2d',
  make: () => new BatchNorm2d(4),
  inputs: normal([2, 3, 5, 4]),
  output: [2, 3, 5, 4],
  keys: { weight: [4], bias: [4], running_mean: [4], running_var: [4], num_batches_tracked: [] },
  parameters: 8,
});

testModule({
  name: 'Embedding',
  make: (generator) => new Embedding(7, 4, { generator }),
  inputs: () => [tensor([[0, 6, 6], [1, 0, 3]], { dtype: 'int64' })], // prettier-ignore
  output: [2, 3, 4],
  keys: { weight: [7, 4] },
  parameters: 28,
});

testModule({
  name: 'Sequential',
  make: (generator) =>
    new Sequential(
      new Linear(4, 8, { generator }),
      new Sequential(new SiLU(), new Dropout(0)),
      new Linear(8, 2, { generator }),
    ),
  inputs: normal([3, 4]),
  output: [3, 2],
  keys: { '0.weight': [8, 4], '0.bias': [8], '2.weight': [2, 8], '2.bias': [2] },
  parameters: 58,
});

const activations = [
  new Identity(),
  new SiLU(),
  new GELU(),
  new ReLU(),
  new LeakyReLU(0.2),
  new Tanh(),
];
for (const activation of activations) {
  testModule({
    name: activation.constructor.name,
    make: () => activation.train(),
    inputs: normal([2, 3]),
    output: [2, 3],
    keys: {},
    parameters: 0,
  });
}

testModule({
  name: 'Dropout',
  make: (generator) => new Dropout(0.5, { generator }),
  inputs: normal([2, 3]),
  output: [2, 3],
  keys: {},
  parameters: 0,
});

testModule({
  name: 'UpsampleNearest2x',
  make: () => new UpsampleNearest2x(),
  inputs: normal([1, 3, 2, 5]),
  output: [1, 6, 4, 5],
  keys: {},
  parameters: 0,
});

testModule({
  name: 'AvgPool2d',
  make: () => new AvgPool2d(),
  inputs: normal([1, 5, 4, 3]),
  output: [1, 2, 2, 3],
  keys: {},
  parameters: 0,
});

testModule({
  name: 'MaxPool2d',
  make: () => new MaxPool2d(),
  inputs: normal([1, 5, 4, 3]),
  output: [1, 2, 2, 3],
  keys: {},
  parameters: 0,
});

test('BatchNorm2d counts training batches and leaves statistics alone in evaluation', () => {
  const layer = new BatchNorm2d(2);
  const x = tensor([1, 2, 3, 4], { shape: [1, 2, 1, 2] });
  layer.forward(x);
  layer.forward(x);
  layer.eval().forward(x);
  expect(layer.num_batches_tracked.itemSync()).toBe(2);
  // momentum 0.1 twice towards the mean 2: 0 → 0.2 → 0.38
  expect(layer.running_mean.dataSync()[0]).toBeCloseTo(0.38, 6);
});

test('layers refuse impossible sizes with both numbers', () => {
  expect(() => new GroupNorm(32, 30)).toThrow(/channels \(30\).*groups \(32\)/);
  expect(() => new Conv2d(3, 4, { kernelSize: 3, groups: 2 })).toThrow(/3 → 4.*groups \(2\)/);
  expect(() => new Linear(0, 4)).toThrow(/0 → 4/);
  expect(() => new Dropout(1)).toThrow(/got 1/);
});

test('a convolution prints its geometry, and shapes as files have them', () => {
  const layer = new Conv2d(3, 8, { kernelSize: 3, stride: 2, padding: { bottom: 1, right: 1 } });
  expect(layer.toString()).toBe(
    'Conv2d(3 → 8, kernel 3, stride 2, padding {"bottom":1,"right":1})  ' +
      'weight [8, 3, 3, 3], bias [8]  224 parameters',
  );
});

test('fused options reach the operation', () => {
  const layer = new Linear(2, 2);
  const x = tensor([[1, 2]]);
  const sum = layer.forward(x, { residual: x }).dataSync();
  const plain = layer.forward(x).dataSync();
  expect([...sum].map(Number)).toEqual([...plain].map((y, i) => Math.fround(Number(y) + i + 1)));
});
