// Parameters of a module: from golden files, or from a formula.
import { tensor, type Module } from '../../lib/index.js';
import type { StateReader } from '../../lib/io/state.js';
import type { GoldenCase } from './golden.js';
import { currentPrecision } from './tensors.js';

/** Loads a case's parameters; every key must be there and no other. */
export async function loadParameters(module: Module, golden: GoldenCase): Promise<void> {
  module.to(currentPrecision());
  await module.importState(await golden.parameters());
}

/**
 * Gives every parameter the values of a function of its name and its shape in files.
 * @param count how many values there must be in all
 */
export async function fillParameters(
  module: Module,
  valuesOf: (name: string, shape: readonly number[]) => Float32Array,
  count: number,
): Promise<void> {
  const sources = module.exportState();
  const total = [...sources.values()].reduce((sum, { shape }) => sum + size(shape), 0);
  if (total !== count) throw new Error(`the network has ${total} parameters, expected ${count}`);
  const find = (key: string) => sources.get(key)!;
  const reader: StateReader = {
    origin: 'formula',
    keys: [...sources.keys()],
    has: (key) => sources.has(key),
    info: (key) => ({ shape: find(key).shape, dtype: 'float32' }),
    get: async (key) => {
      const { shape } = find(key);
      return tensor(valuesOf(key, shape), { shape });
    },
  };
  await module.importState(reader);
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
