// Values into and out of a module. Everything is compared before anything is changed, so that a wrong
// checkpoint is refused with the whole list of what does not fit.
import { noGrad } from '../autograd/index.js';
import { isFloating, type DType } from '../dtype.js';
import { check } from '../errors.js';
import type { StateReader, TensorSource } from '../io/state.js';
import { native, type Id } from '../native.js';
import { noteWritten, type Tensor } from '../tensor.js';
import { slotsOf, type ModuleNode, type Slot } from './fields.js';

const kernels = native<{ copy(x: Id, y: Id): void; cast(x: Id, y: Id): void }>('copy', 'cast');

export interface LoadOptions {
  /** Whether every key must be there and no other. Shapes must always fit. Default true. */
  strict?: boolean;
}

/** What did not match when loading without `strict`. */
export interface LoadReport {
  /** Keys of the module that the state lacks: these tensors keep their values. */
  readonly missing: readonly string[];
  /** Keys of the state that the module lacks. */
  readonly unexpected: readonly string[];
}

type Description = { readonly shape: readonly number[]; readonly dtype: DType };

/** @internal Overwrites a tensor in place; shapes are equal, dtypes and devices may differ. */
export function assign(target: Tensor, values: Tensor): void {
  const near = values.device === target.device ? values : values.to(target.device);
  const kernel = near.dtype === target.dtype ? kernels.copy : kernels.cast;
  kernel(near.id, target.id);
  noteWritten([target]);
  if (near !== values) near.dispose();
}

export function loadState(
  module: ModuleNode,
  state: ReadonlyMap<string, Tensor>,
  options: LoadOptions,
): LoadReport {
  const slots = [...slotsOf(module)];
  const keys = [...state.keys()];
  const shapeOf = (slot: Slot) => slot.tensor.shape;
  const describe = (key: string) => state.get(key)!;
  const report = compare(module, 'the given state', slots, keys, describe, shapeOf, options);
  noGrad(() => {
    for (const { key, tensor } of slots) {
      const values = state.get(key);
      if (values && values !== tensor) assign(tensor, values);
    }
  });
  return report;
}

export function exportState(
  module: ModuleNode,
  valuesOf: (tensor: Tensor) => Tensor,
): Map<string, TensorSource> {
  const sources = [...slotsOf(module)].map(
    ({ key, tensor, owner, field }): [string, TensorSource] => {
      const layout = owner.fileLayout(field);
      const shape = layout?.shape(tensor.shape) ?? tensor.shape;
      const values = valuesOf(tensor);
      // An alias, because the writer disposes what it was given.
      const read = () => noGrad(() => (layout ? layout.toFile(values) : values.alias()));
      return [key, { shape, dtype: values.dtype, read }];
    },
  );
  return new Map(sources);
}

export async function importState(
  module: ModuleNode,
  reader: StateReader,
  options: LoadOptions,
): Promise<LoadReport> {
  const slots = [...slotsOf(module)];
  const shapeOf = ({ tensor, owner, field }: Slot) =>
    owner.fileLayout(field)?.shape(tensor.shape) ?? tensor.shape;
  const describe = (key: string) => reader.info(key);
  const report = compare(module, reader.origin, slots, reader.keys, describe, shapeOf, options);
  for (const { key, tensor, owner, field } of slots) {
    if (!reader.has(key)) continue;
    // A device that is behind would keep copies of what is uploaded meanwhile.
    await tensor.device.synchronize();
    const stored = await reader.get(key);
    const layout = owner.fileLayout(field);
    const values = layout ? noGrad(() => layout.fromFile(stored)) : stored;
    assign(tensor, values);
    values.dispose();
    stored.dispose();
  }
  return report;
}

function compare(
  module: ModuleNode,
  origin: string,
  slots: readonly Slot[],
  keys: readonly string[],
  describe: (key: string) => Description,
  shapeOf: (slot: Slot) => readonly number[],
  { strict = true }: LoadOptions,
): LoadReport {
  const given = new Set(keys);
  const own = new Set(slots.map((slot) => slot.key));
  const missing = [...own].filter((key) => !given.has(key));
  const unexpected = keys.filter((key) => !own.has(key));
  const mismatched: string[] = [];
  for (const slot of slots) {
    if (!given.has(slot.key)) continue;
    const { shape, dtype } = describe(slot.key);
    const expected = shapeOf(slot);
    if (shape.join() !== expected.join()) {
      mismatched.push(`${slot.key}: expected [${expected.join(', ')}], got [${shape.join(', ')}]`);
    } else if (
      dtype !== slot.tensor.dtype &&
      !(isFloating(dtype) && isFloating(slot.tensor.dtype))
    ) {
      mismatched.push(`${slot.key}: expected ${slot.tensor.dtype}, got ${dtype}`);
    }
  }
  const fits = mismatched.length === 0 && (!strict || missing.length + unexpected.length === 0);
  check(fits, () => {
    const lines = [`${module.constructor.name}: ${origin} does not fit the module.`];
    const list = (title: string, items: readonly string[]) => {
      if (items.length > 0)
        lines.push(`${title} (${items.length}):`, ...items.map((item) => `  ${item}`));
    };
    list('Missing keys', missing);
    list('Unexpected keys', unexpected);
    list('Mismatched', mismatched);
    lines.push(
      mismatched.length > 0
        ? 'The state belongs to a module of another configuration.'
        : 'Pass { strict: false } to load what matches.',
    );
    return lines.join('\n');
  });
  return { missing, unexpected };
}
