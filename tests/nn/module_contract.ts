// What every layer owes: shapes, dtypes, names, counts, files, and that training makes it better.
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  Generator,
  mseLoss,
  readSafetensors,
  tensor,
  tidy,
  writeSafetensors,
  type Module,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

export interface ModuleContract {
  name: string;
  make(generator: Generator): Module;
  /** The arguments of `forward`. */
  inputs(generator: Generator): Tensor[];
  /** Shape of the output. */
  output: readonly number[];
  /** Every key with its shape in a file of PyTorch. */
  keys: Readonly<Record<string, readonly number[]>>;
  parameters: number;
  /** Step of the one training step that must lower the loss. */
  learningRate?: number;
}

/** Runs the tests of one layer. */
export function testModule(contract: ModuleContract): void {
  const { name, make, inputs, output, keys, parameters, learningRate = 0.01 } = contract;
  const run = (module: Module): Tensor =>
    module.forward(...inputs(new Generator(1, { stream: 9 }))) as Tensor;

  describe(name, () => {
    const inFolder = temporaryFolder();

    test('forward has the promised shape and the dtype of the weights', () => {
      const module = make(new Generator(0));
      const y = run(module);
      expect(y.shape).toEqual(output);
      expect(y.dtype).toBe(module.parameters()[0]?.dtype ?? 'float32');
      expect([...y.dataSync()].every((value) => Number.isFinite(Number(value)))).toBe(true);
    });

    test('has the original keys in file layout, and this many parameters', () => {
      const module = make(new Generator(0));
      const shapes = [...module.exportState()].map(([key, { shape }]) => [key, shape]);
      expect(Object.fromEntries(shapes)).toEqual(keys);
      expect(module.parameterCount()).toBe(parameters);
    });

    test('prints itself', () => {
      const text = inspect(make(new Generator(0)));
      expect(text).toContain(`${parameters.toLocaleString('en-US')} parameters`);
      for (const key of Object.keys(keys)) expect(text).toContain(key.split('.').at(-1));
    });

    test('one seed, one set of weights', () => {
      const [first, second] = [make(new Generator(5)), make(new Generator(5))];
      expect(valuesOf(first)).toEqual(valuesOf(second));
    });

    test('a state dict carries everything', () => {
      const [from, to] = [make(new Generator(1)), make(new Generator(2))];
      to.loadStateDict(from.stateDict());
      expect(valuesOf(to)).toEqual(valuesOf(from));
      expect(run(to.eval()).dataSync()).toEqual(run(from.eval()).dataSync());
    });

    test('a file carries everything', async () => {
      const [from, to] = [make(new Generator(1)), make(new Generator(2))];
      await writeSafetensors(inFolder('state'), from.exportState());
      const report = await to.importState(await readSafetensors(inFolder('state')));
      expect(report).toEqual({ missing: [], unexpected: [] });
      expect(valuesOf(to)).toEqual(valuesOf(from));
    });

    test('switches between training and evaluation', () => {
      const module = make(new Generator(0));
      expect(module.modules().every((each) => each.training)).toBe(true);
      expect(
        module
          .eval()
          .modules()
          .some((each) => each.training),
      ).toBe(false);
    });

    if (parameters === 0) return;

    test('a training step lowers the loss; a frozen module has no gradients', () => {
      const module = make(new Generator(0));
      const target = new Generator(3).normal(output);
      const loss = () => tidy(() => mseLoss(run(module), target));
      const before = loss();
      before.backward();
      const stepped = [...module.namedParameters()].map(([key, tensor]) => {
        expect(tensor.grad, key).not.toBeNull();
        return [key, step(tensor, learningRate)] as const;
      });
      module.loadStateDict(new Map(stepped), { strict: false });
      expect(loss().itemSync()).toBeLessThan(before.itemSync());
      module.zeroGrad();
      expect(module.parameters().every((tensor) => tensor.grad === null)).toBe(true);
      expect(mseLoss(run(module.requiresGrad_(false)), target).requiresGrad).toBe(false);
    });
  });
}

/** A tensor moved against its gradient. */
function step(parameter: Tensor, learningRate: number): Tensor {
  const values = parameter.dataSync() as Float32Array;
  const slope = parameter.grad!.dataSync() as Float32Array;
  return tensor(
    values.map((value, i) => value - learningRate * slope[i]),
    { shape: parameter.shape },
  );
}

function valuesOf(module: Module): unknown {
  return new Map([...module.stateDict()].map(([key, each]) => [key, each.dataSync()]));
}
