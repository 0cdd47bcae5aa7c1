import {
  Dropout,
  Embedding,
  GELU,
  Identity,
  LeakyReLU,
  ReLU,
  SiLU,
  Tanh,
  tensor,
  type Generator,
} from '../../lib/index.js';
import { testModule } from './module_contract.js';

/** Normal input of one shape. */
const normal = (shape: number[]) => (generator: Generator) => [generator.normal(shape)];

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
