// The closed list of classes and functions that mean something here, and what each makes. None of them is
// Python's: they are small functions over plain data. What any other would make stays closed.
import { elementType } from './element_type.js';
import { lazyBits, StorageRef, TensorRef, type LazyBit } from './tensor_ref.js';
import { Opaque, PythonName, type CheckpointMap, type CheckpointValue } from './values.js';

/** What makers know of the unpickler. */
export interface Machine {
  /** Maps that stand for objects: their attributes become entries. */
  readonly records: WeakSet<CheckpointMap>;
  /** Accounts for bytes that are copied: repeated copies of a long list must not fill the memory. */
  spend(bytes: number): void;
  /** As {@link spend}, for entries of a container. */
  spendItems(count: number): void;
  fail(problem: string): never;
}

type Maker = (args: readonly CheckpointValue[], machine: Machine) => CheckpointValue;

/** Calls a name of the closed list; of another, what it is called with is kept unseen. */
export function construct(
  machine: Machine,
  callee: CheckpointValue,
  args: readonly CheckpointValue[],
): CheckpointValue {
  const isOpaque = callee instanceof Opaque;
  if (!isOpaque && !(callee instanceof PythonName))
    return machine.fail('what is called is no class or function');
  const maker = isOpaque ? undefined : makers.get(callee.toString());
  if (!maker) {
    machine.spendItems(args.length);
    return new Opaque(isOpaque ? callee.name : callee.toString(), args);
  }
  try {
    return maker(args, machine);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return machine.fail(error.message);
  }
}

function wrong(what: string): never {
  throw new RangeError(`${what} gets arguments that it does not take`);
}

const rebuildTensor: Maker = ([storage, offset, shape, strides, , , metadata]) => {
  if (!(storage instanceof StorageRef)) return wrong('a tensor');
  return new TensorRef(storage, storage.type, ...view(offset, shape, strides), lazyBit(metadata));
};

// PyTorch 2's form for types that have no storage class of their own: the dtype comes as an argument.
const rebuildTypedTensor: Maker = ([storage, offset, shape, strides, , , dtype, metadata]) => {
  if (!(storage instanceof StorageRef) || !(dtype instanceof PythonName)) return wrong('a tensor');
  const type = elementType(dtype.module, dtype.name);
  if (!type) return new Opaque(dtype.toString(), [storage]);
  return new TensorRef(storage, type, ...view(offset, shape, strides), lazyBit(metadata));
};

function view(
  offset: CheckpointValue,
  shape: CheckpointValue,
  strides: CheckpointValue,
): [number, number[], number[]] {
  if (!Array.isArray(shape) || !Array.isArray(strides)) return wrong('a tensor');
  return [offset as number, shape as number[], strides as number[]]; // TensorRef checks the numbers
}

/** What PyTorch has put off for a tensor and notes beside it. */
const lazyBit = (metadata: CheckpointValue = null): LazyBit | null =>
  (metadata instanceof Map && lazyBits.find((bit) => metadata.get(bit) === true)) || null;

const rebuildParameter: Maker = ([tensor]) =>
  tensor instanceof TensorRef || tensor instanceof Opaque ? tensor : wrong('a parameter');

/** A tensor with attributes of Python's, or of a class derived from it: the tensor alone. */
const rebuildFromType: Maker = ([make, , args], machine) => {
  const isNested = make instanceof PythonName && makers.get(make.toString()) === rebuildFromType;
  if (!Array.isArray(args) || isNested) return wrong('a tensor');
  return construct(machine, make, args);
};

/** A dictionary, from nothing, another dictionary or pairs. */
const dictionary: Maker = ([source = []], machine) => {
  const pairs: CheckpointValue = source instanceof Map ? [...source] : source;
  if (!Array.isArray(pairs)) return wrong('a dictionary');
  machine.spendItems(pairs.length);
  return new Map(
    pairs.map((pair): [CheckpointValue, CheckpointValue] =>
      Array.isArray(pair) && pair.length === 2 ? [pair[0], pair[1]] : wrong('a dictionary'),
    ),
  );
};

const list: Maker = ([items = []], machine) => {
  if (!Array.isArray(items) && !(items instanceof Set)) return wrong('a list');
  const copy = [...items];
  machine.spendItems(copy.length);
  return copy;
};

const set: Maker = (args, machine) => new Set(list(args, machine) as CheckpointValue[]);

/** An object whose attributes follow: hyperparameters and the like. */
const record: Maker = (args, { records }) => {
  if (args.length > 0) return wrong('an object');
  const made: CheckpointMap = new Map();
  records.add(made);
  return made;
};

/** How protocols 0 and 1 make objects: the class, its base, and the base's value. */
const reconstruct: Maker = ([type, , value], machine) =>
  construct(machine, type, value === null || value === undefined ? [] : [value]);

const encode: Maker = ([text, encoding], machine) => {
  if (typeof text !== 'string' || encoding !== 'latin1') return wrong('_codecs.encode');
  machine.spend(text.length);
  return Uint8Array.from(Buffer.from(text, 'latin1'));
};

const bytes: Maker = ([source = []]) => {
  if (source instanceof Uint8Array) return source;
  return Array.isArray(source) && source.length === 0 ? new Uint8Array(0) : wrong('bytes');
};

const device: Maker = ([type, index = null]) => {
  if (typeof type !== 'string') return wrong('torch.device');
  if (index === null) return type;
  return typeof index === 'number' ? `${type}:${index}` : wrong('torch.device');
};

const path: Maker = (parts, machine) => {
  const joined = parts.map((part) => (typeof part === 'string' ? part : wrong('a path'))).join('/');
  machine.spend(joined.length);
  return joined;
};

const numpyDType: Maker = ([code]) =>
  typeof code === 'string' ? new PythonName('numpy.dtype', code) : wrong('numpy.dtype');

const numpyReaders: Record<string, [number, (bytes: DataView) => CheckpointValue]> = {
  f8: [8, (view) => view.getFloat64(0, true)],
  f4: [4, (view) => view.getFloat32(0, true)],
  i8: [8, (view) => Number(view.getBigInt64(0, true))],
  i4: [4, (view) => view.getInt32(0, true)],
  i2: [2, (view) => view.getInt16(0, true)],
  i1: [1, (view) => view.getInt8(0)],
  u8: [8, (view) => Number(view.getBigUint64(0, true))],
  u4: [4, (view) => view.getUint32(0, true)],
  u2: [2, (view) => view.getUint16(0, true)],
  u1: [1, (view) => view.getUint8(0)],
  b1: [1, (view) => view.getUint8(0) !== 0],
};

/** One number of NumPy: metrics are often such. */
const numpyScalar: Maker = ([dtype, raw]) => {
  if (!(dtype instanceof PythonName) || dtype.module !== 'numpy.dtype')
    return wrong('a NumPy scalar');
  const reader = Object.hasOwn(numpyReaders, dtype.name) ? numpyReaders[dtype.name] : undefined;
  const data = typeof raw === 'string' ? Buffer.from(raw, 'latin1') : raw;
  if (!reader) return new Opaque(dtype.toString(), []);
  if (!(data instanceof Uint8Array) || data.byteLength !== reader[0])
    return wrong('a NumPy scalar');
  return reader[1](new DataView(data.buffer, data.byteOffset, data.byteLength));
};

const builtins = (name: string): string[] => [`builtins.${name}`, `__builtin__.${name}`];

const known: [string | string[], Maker][] = [
  [['torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2'], rebuildTensor],
  ['torch._utils._rebuild_tensor_v3', rebuildTypedTensor],
  [
    ['torch._utils._rebuild_parameter', 'torch._utils._rebuild_parameter_with_state'],
    rebuildParameter,
  ],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch.Size', list],
  ['torch.device', device],
  [['collections.OrderedDict', 'collections.Counter', ...builtins('dict')], dictionary],
  ['collections.defaultdict', () => new Map()],
  [[...builtins('list'), ...builtins('tuple')], list],
  [[...builtins('set'), ...builtins('frozenset')], set],
  [[...builtins('bytes'), ...builtins('bytearray')], bytes],
  ['_codecs.encode', encode],
  [['copyreg._reconstructor', 'copy_reg._reconstructor'], reconstruct],
  [
    [
      'pathlib.Path',
      'pathlib.PosixPath',
      'pathlib.WindowsPath',
      'pathlib.PurePosixPath',
      'pathlib._local.PosixPath',
    ],
    path,
  ],
  ['numpy.dtype', numpyDType],
  [['numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar'], numpyScalar],
  // Hyperparameters as Lightning keeps them: dictionaries with another face ...
  [
    [
      'pytorch_lightning.utilities.parsing.AttributeDict',
      'lightning.pytorch.utilities.parsing.AttributeDict',
      'lightning_fabric.utilities.data.AttributeDict',
      'lightning.fabric.utilities.data.AttributeDict',
    ],
    dictionary,
  ],
  // ... and objects whose attributes are plain data.
  [
    [
      'argparse.Namespace',
      'types.SimpleNamespace',
      'omegaconf.dictconfig.DictConfig',
      'omegaconf.listconfig.ListConfig',
      'omegaconf.base.Metadata',
      'omegaconf.base.ContainerMetadata',
      'omegaconf.nodes.AnyNode',
      'omegaconf.nodes.StringNode',
      'omegaconf.nodes.IntegerNode',
      'omegaconf.nodes.FloatNode',
      'omegaconf.nodes.BooleanNode',
      'torch.nn.modules.container.ParameterDict',
      'torch.nn.modules.container.ParameterList',
    ],
    record,
  ],
];
const makers = new Map(
  known.flatMap(([names, maker]) => [names].flat().map((name): [string, Maker] => [name, maker])),
);
