// The element types of PyTorch's storages and tensors under the names that checkpoints use.
import type { DType } from '../../dtype.js';

/** An element type of a checkpoint. */
export interface ElementType {
  /** PyTorch's name, such as `float32`. */
  readonly name: string;
  readonly bytes: number;
  /** The same type here; missing where tensors cannot hold it. */
  readonly dtype?: DType;
}

const all: readonly ElementType[] = [
  { name: 'float32', bytes: 4, dtype: 'float32' },
  { name: 'float64', bytes: 8, dtype: 'float64' },
  { name: 'float16', bytes: 2, dtype: 'float16' },
  { name: 'bfloat16', bytes: 2, dtype: 'bfloat16' },
  { name: 'int64', bytes: 8, dtype: 'int64' },
  { name: 'int32', bytes: 4, dtype: 'int32' },
  { name: 'uint8', bytes: 1, dtype: 'uint8' },
  { name: 'bool', bytes: 1, dtype: 'bool' },
  { name: 'int16', bytes: 2 },
  { name: 'int8', bytes: 1 },
  { name: 'uint16', bytes: 2 },
  { name: 'uint32', bytes: 4 },
  { name: 'uint64', bytes: 8 },
  { name: 'complex32', bytes: 4 },
  { name: 'complex64', bytes: 8 },
  { name: 'complex128', bytes: 16 },
  { name: 'float8_e4m3fn', bytes: 1 },
  { name: 'float8_e5m2', bytes: 1 },
  { name: 'float8_e4m3fnuz', bytes: 1 },
  { name: 'float8_e5m2fnuz', bytes: 1 },
  { name: 'float8_e8m0fnu', bytes: 1 },
  { name: 'float4_e2m1fn_x2', bytes: 1 },
  { name: 'quint8', bytes: 1 },
  { name: 'qint8', bytes: 1 },
  { name: 'qint32', bytes: 4 },
];
const byName = new Map(all.map((type) => [type.name, type]));

/** What an UntypedStorage holds. */
const byte = byName.get('uint8')!;

const byStorage = new Map<string, ElementType>(
  Object.entries({
    FloatStorage: 'float32',
    DoubleStorage: 'float64',
    HalfStorage: 'float16',
    BFloat16Storage: 'bfloat16',
    LongStorage: 'int64',
    IntStorage: 'int32',
    ShortStorage: 'int16',
    CharStorage: 'int8',
    ByteStorage: 'uint8',
    BoolStorage: 'bool',
    ComplexFloatStorage: 'complex64',
    ComplexDoubleStorage: 'complex128',
    QUInt8Storage: 'quint8',
    QInt8Storage: 'qint8',
    QInt32Storage: 'qint32',
  }).map(([storage, name]) => [storage, byName.get(name)!]),
);

/** Names of the element types that tensors here can hold. */
export const supportedTypes = all.filter(({ dtype }) => dtype).map(({ name }) => name);

/** The element type of a storage class such as `torch.FloatStorage`; undefined for other classes. */
export function storageType(module: string, name: string): ElementType | undefined {
  if (module === 'torch.storage' && name === 'UntypedStorage') return byte;
  return module === 'torch' || module === 'torch.cuda' ? byStorage.get(name) : undefined;
}

/** The element type called `torch.float32` and the like. */
export function elementType(module: string, name: string): ElementType | undefined {
  return module === 'torch' ? byName.get(name) : undefined;
}
