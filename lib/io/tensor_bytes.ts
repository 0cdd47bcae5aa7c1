// Tensors from and to the raw little-endian bytes that files hold.
import { endianness } from 'node:os';
import { dtypeInfo, type DType } from '../dtype.js';
import { check } from '../errors.js';
import { addon } from '../native.js';
import { empty, upload, type Tensor } from '../tensor.js';

check(
  endianness() === 'LE',
  () => 'emulsion: files can be read and written on little-endian machines only',
);

/** A tensor on the default device with exactly these bytes; 16-bit floats keep every bit. */
export function tensorOf(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  // A bool that is neither 0 nor 1 means nothing to compiled code: any other byte counts as true.
  if (dtype === 'bool') bytes = bytes.map((byte) => (byte === 0 ? 0 : 1));
  const result = empty(shape, { dtype });
  upload(result, bytes);
  return result;
}

/** The bytes of a tensor, once everything enqueued before has run. */
export function bytesOf(tensor: Tensor): Promise<Uint8Array> {
  return addon.read(tensor.id, new Uint8Array(tensor.numel * dtypeInfo(tensor.dtype).bytes));
}
