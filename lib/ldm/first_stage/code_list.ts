/** Reads the codes of `remap` from NumPy's file format, in which the original keeps them. */
import { FileError } from '../../errors.js';
import { readSmallFile } from '../../io/positional.js';

const magic = Buffer.from('\x93NUMPY', 'latin1');

// As many codes as a codebook may have.
const mostCodes = 2 ** 24;
const largestHeader = 2 ** 16;

interface IntegerType {
  bytes: number;
  read(data: DataView, offset: number): number | bigint;
}

const integerTypes: Readonly<Record<string, IntegerType>> = {
  '|u1': { bytes: 1, read: (data, offset) => data.getUint8(offset) },
  '<i2': { bytes: 2, read: (data, offset) => data.getInt16(offset, true) },
  '<u2': { bytes: 2, read: (data, offset) => data.getUint16(offset, true) },
  '<i4': { bytes: 4, read: (data, offset) => data.getInt32(offset, true) },
  '<i8': { bytes: 8, read: (data, offset) => data.getBigInt64(offset, true) },
};

/**
 * The integers of a one-dimensional `.npy` file, such as the original's `remap`.
 *
 * @throws FileError when the file is damaged or holds anything else
 */
export async function readCodeList(path: string): Promise<number[]> {
  const bytes = await readSmallFile(path, mostCodes * 8 + largestHeader, 'a list of codes');
  const fail = (message: string, offset: number) => new FileError(message, path, offset);
  if (!bytes.subarray(0, 6).equals(magic)) throw fail('not a NumPy array (.npy).', 0);
  const wide = bytes[6] >= 2; // the version decides how the header's length is written
  const start = wide ? 12 : 10;
  if (bytes.length < start) throw fail('the file ends within its header.', bytes.length);
  const length = wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  if (length > largestHeader || start + length > bytes.length) {
    throw fail(`a header of ${length} bytes does not fit the file.`, 8);
  }
  const header = bytes.toString('latin1', start, start + length);
  const descr = /'descr': *'([^']*)'/.exec(header)?.[1] ?? 'unknown';
  const count = Number(/'shape': *\((\d+),\)/.exec(header)?.[1]);
  if (!Object.hasOwn(integerTypes, descr)) {
    const known = Object.keys(integerTypes).join(', ');
    throw fail(`expected integers (${known}). Got ${descr}.`, start);
  }
  if (!Number.isSafeInteger(count)) throw fail('expected an array of one dimension.', start);
  const { bytes: size, read } = integerTypes[descr];
  const data = bytes.subarray(start + length);
  if (data.length !== count * size) {
    throw fail(`${count} integers take ${count * size} bytes. Got ${data.length}.`, start + length);
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: count }, (_, i) => Number(read(view, i * size)));
}
