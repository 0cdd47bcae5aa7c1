import { ArgumentError } from './errors.js';

/**
 * Element types. `float32` is the default; `bfloat16` and `float16` are stored in 16 bits and computed
 * with in float32; `float64` is slow and exact, the reference that tests compare with.
 */
export type DType =
  'float32' | 'bfloat16' | 'float16' | 'float64' | 'int32' | 'int64' | 'uint8' | 'bool';

export type TypedArray =
  Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array;

interface DTypeInfo {
  /** Number of the dtype in native/core/dtype.h. */
  readonly code: number;
  readonly bytes: number;
  readonly floating: boolean;
  readonly array: new (length: number) => TypedArray;
}

const table: Record<DType, DTypeInfo> = {
  float32: { code: 0, bytes: 4, floating: true, array: Float32Array },
  bfloat16: { code: 1, bytes: 2, floating: true, array: Uint16Array },
  float16: { code: 2, bytes: 2, floating: true, array: Uint16Array },
  float64: { code: 3, bytes: 8, floating: true, array: Float64Array },
  int32: { code: 4, bytes: 4, floating: false, array: Int32Array },
  int64: { code: 5, bytes: 8, floating: false, array: BigInt64Array },
  uint8: { code: 6, bytes: 1, floating: false, array: Uint8Array },
  bool: { code: 7, bytes: 1, floating: false, array: Uint8Array },
};

export const dtypes = Object.keys(table) as DType[];

/** What is known of a dtype. Throws an ArgumentError for an unknown name. */
export function dtypeInfo(dtype: DType): DTypeInfo {
  const info = Object.hasOwn(table, dtype) ? table[dtype] : undefined;
  if (!info)
    throw new ArgumentError(`unknown dtype '${String(dtype)}'; one of ${dtypes.join(', ')}`);
  return info;
}

export const isFloating = (dtype: DType): boolean => dtypeInfo(dtype).floating;
