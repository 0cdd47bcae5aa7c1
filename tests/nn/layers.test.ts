import {
  AvgPool2d,
  BatchNorm2d,
  Dropout,
  Embedding,
  GELU,
  GroupNorm,
  Identity,
  LayerNorm,
  LeakyReLU,
  MaxPool2d,
  ReLU,
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
