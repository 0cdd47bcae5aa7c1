import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import {
  buffer,
  Module,
  ModuleList,
  ones,
  parameter,
  Sequential,
  tensor,
  tidy,
  zeros,
  type Tensor,
} from '../../lib/index.js';

class Scale extends Module<[Tensor], Tensor> {
  weight = parameter(ones([2]));
  steps = buffer(zeros([], { dtype: 'int64' }));

  forward(x: Tensor): Tensor {
    return x;
  }

  override facts(): string {
    return 'by two';
  }
}

class Network extends Module<[], null> {
  readonly name = 'not a tensor';
  readonly sizes = [1, 2, 3];
  out = { 2: new Scale(), 0: new Scale() };
  input_blocks = [[new Scale()], new Sequential(new Scale())];
  list = new ModuleList([new Scale()]);
  own = parameter(ones([3]));
  readonly #hidden = ones([9]);

  forward(): null {
    return this.#hidden && null;
  }
}

test('field paths are keys, in declaration order', () => {
  expect([...new Network().namedParameters().keys()]).toEqual([
    'own',
    'out.0.weight',
    'out.2.weight',
    'input_blocks.0.0.weight',
    'input_blocks.1.0.weight',
    'list.0.weight',
  ]);
  expect([...new Network().namedBuffers().keys()]).toHaveLength(5);
  expect([...new Network().children().keys()]).toEqual([
    'out.0',
    'out.2',
    'input_blocks.0.0',
    'input_blocks.1',
    'list',
  ]);
});

test('a tensor that is neither parameter nor buffer is refused by name', () => {
  class Forgetful extends Network {
    last = zeros([1]);
  }
  expect(() => new Forgetful().parameters()).toThrow(/Forgetful: the field last .*Wrap it/);
});

test('a leaf with requiresGrad is a parameter, and stays one when frozen', () => {
  class Plain extends Module<[], null> {
    weight = tensor([1], { requiresGrad: true });
    forward = () => null;
  }
  const plain = new Plain().requiresGrad_(false);
  expect(plain.weight.requiresGrad).toBe(false);
  expect([...plain.namedParameters().keys()]).toEqual(['weight']);
});

test('shared modules count once and are saved under each name', () => {
  class Tied extends Module<[], null> {
    a = new Scale();
    b = this.a;
    forward = () => null;
  }
  expect(new Tied().parameterCount()).toBe(2);
  expect([...new Tied().stateDict().keys()]).toEqual([
    'a.weight',
    'a.steps',
    'b.weight',
    'b.steps',
  ]);
});

test('a field that leads back to its owner is named', () => {
  class Loop extends Module<[], null> {
    parent = this as Module;
    forward = () => null;
  }
  expect(() => new Loop().parameters()).toThrow(/Loop: parent leads back/);
});

test('modules made inside tidy keep their weights', () => {
  const network = tidy(() => {
    const made = new Network();
    expect(made.own.disposed).toBe(false);
    return { made };
  }).made;
  expect([...network.stateDict().values()].some((each) => each.disposed)).toBe(false);
});

test('loading copies in place and converts floating dtypes', () => {
  const scale = new Scale();
  const { weight } = scale;
  const half = tensor([3, 4], { dtype: 'float16' });
  scale.loadStateDict({ weight: half, steps: tensor(7, { dtype: 'int64' }) });
  half.dispose();
  expect(scale.weight).toBe(weight);
  expect([...weight.dataSync()]).toEqual([3, 4]);
  expect(scale.steps.itemSync()).toBe(7);
});

test('everything that does not fit is listed at once, and nothing is changed', () => {
  const network = new Network();
  const state = new Map<string, Tensor>(network.stateDict());
  state.delete('own');
  state.delete('out.0.steps');
  state.set('extra', zeros([1]));
  state.set('out.2.weight', zeros([5, 5]));
  state.set('out.0.weight', zeros([2]));
  state.set('list.0.steps', zeros([]));
  const attempt = () => network.loadStateDict(state);
  expect(attempt).toThrow(/Network: the given state does not fit/);
  expect(attempt).toThrow(/Missing keys \(2\):\n {2}own\n {2}out\.0\.steps/);
  expect(attempt).toThrow(/Unexpected keys \(1\):\n {2}extra/);
  expect(attempt).toThrow(/out\.2\.weight: expected \[2\], got \[5, 5\]/);
  expect(attempt).toThrow(/list\.0\.steps: expected int64, got float32/);
  expect([...network.out[0].weight.dataSync()]).toEqual([1, 1]);
});

test('without strict, what matches is loaded and the rest reported', () => {
  const network = new Network();
  const report = network.loadStateDict(
    { own: tensor([1, 2, 3]), extra: zeros([1]) },
    { strict: false },
  );
  expect([...network.own.dataSync()]).toEqual([1, 2, 3]);
  expect(report.unexpected).toEqual(['extra']);
  expect(report.missing).toHaveLength(10);
  expect(() => network.loadStateDict({ own: zeros([4]) }, { strict: false })).toThrow(/Mismatched/);
});

test('converting to a dtype leaves integers alone and keeps roles', () => {
  const scale = new Scale().to('float64');
  expect(scale.weight.dtype).toBe('float64');
  expect(scale.weight.requiresGrad).toBe(true);
  expect(scale.steps.dtype).toBe('int64');
  expect([...scale.namedBuffers().keys()]).toEqual(['steps']);
});

test('dispose gives back everything', () => {
  const network = new Network();
  const tensors = [...network.stateDict().values()];
  network.dispose();
  expect(tensors.every((each) => each.disposed)).toBe(true);
});

test('the printed tree shows names, facts, shapes and counts', () => {
  const network = new Network();
  network.out[0].requiresGrad_(false);
  expect(inspect(network).split('\n')).toEqual([
    'Network                            own [3]               13 parameters',
    '  out.0: Scale(by two)             weight [2], steps []  2 (frozen)',
    '  out.2: Scale(by two)             weight [2], steps []  2',
    '  input_blocks.0.0: Scale(by two)  weight [2], steps []  2',
    '  input_blocks.1: Sequential                             2',
    '    0: Scale(by two)               weight [2], steps []  2',
    '  list: ModuleList                                       2',
    '    0: Scale(by two)               weight [2], steps []  2',
  ]);
});

test('a list has no forward', () => {
  expect(() => new ModuleList().forward()).toThrow(/list has no forward/);
});
