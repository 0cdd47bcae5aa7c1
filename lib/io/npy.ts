// NumPy's .npy format (versions 1 to 3): one array behind a header in Python's notation, which is matched, never run.
import { dtypeInfo, type DType, type TypedArray } from '../dtype.js';
import { check, FileError } from '../errors.js';
import { swapBytes } from './byte_order.js';

/** Element types of .npy files that are read and written. */
export type NpyDType = Exclude<DType, 'float16' | 'bfloat16'>;

/** An array of numbers as NumPy has it. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly dtype: NpyDType;
  /** The elements in row-major order: as many as the shape says, in the dtype's typed array. */
  readonly data: TypedArray;
}

/** An array to write that need not fit into memory. */
export interface StreamedNpyArray {
  readonly shape: readonly number[];
  readonly dtype: NpyDType;
  /** Its bytes from the first to the last, little-endian and row-major. */
  readonly chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const descriptions: Record<NpyDType, string> = {
  float64: 'f8',
  float32: 'f4',
  int64: 'i8',
  int32: 'i4',
  uint8: 'u1',
  bool: 'b1',
};

const magic = Buffer.from('\x93NUMPY', 'latin1');
const alignment = 64;

// Some hundred bytes are usual: a description of plain numbers is short.
const largestHeader = 64 * 1024;

/** What the header of a .npy file says. */
export interface NpyHeader {
  readonly shape: readonly number[];
  readonly dtype: NpyDType;
  /** Whether the elements are big-endian. */
  readonly swapped: boolean;
  readonly columnMajor: boolean;
  /** Where the elements begin. */
  readonly length: number;
}

/** No header reaches further. */
export const longestNpyHeader = 12 + largestHeader;

/**
 * Reads the header at the beginning of a .npy file.
 *
 * @param path names the file in errors
 * @param entry names the array in errors
 * @param bytes at least the whole header
 * @param size bytes of the whole .npy file
 * @throws FileError when the header is damaged, the elements are no plain numbers, or their count is not
 *   the shape's
 */
export function parseNpyHeader(
  path: string,
  entry: string,
  bytes: Buffer,
  size: number,
): NpyHeader {
  const fail = (problem: string): never => {
    throw new FileError(`${entry} ${problem}.`, path);
  };
  if (bytes.byteLength < 12 || !bytes.subarray(0, magic.byteLength).equals(magic))
    fail('is no .npy array');
  const version = bytes[6];
  if (version < 1 || version > 3) fail(`is of .npy version ${version}, which is not known`);
  const begin = version === 1 ? 10 : 12;
  const text = version === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  if (text > largestHeader || begin + text > bytes.byteLength)
    fail(`announces a header of ${text} bytes`);
  const header = bytes.toString('latin1', begin, begin + text);

  const { dtype, swapped } = parseDescription(header) ?? fail(unreadable(header));
  const shape = parseShape(header) ?? fail('has no shape in its header');
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1] ?? fail('has no order');
  const count = shape.reduce((product, extent) => product * extent, 1);
  const [wanted, found] = [count * dtypeInfo(dtype).bytes, size - begin - text];
  if (wanted !== found) {
    const follow = `but ${found} bytes follow`;
    fail(`has shape [${shape.join(', ')}] of ${dtype}, ${wanted} bytes, ${follow}`);
  }
  return { shape, dtype, swapped, columnMajor: order === 'True', length: begin + text };
}

/**
 * The array that the bytes of a .npy file hold; it may share their memory.
 *
 * @param path names the file in errors
 * @param entry names the array in errors
 * @throws FileError as {@link parseNpyHeader}
 */
export function parseNpy(path: string, entry: string, bytes: Buffer): NpyArray {
  const header = parseNpyHeader(path, entry, bytes, bytes.byteLength);
  const { shape, dtype, swapped, columnMajor } = header;
  const content = bytes.subarray(header.length);
  const { array, bytes: size } = dtypeInfo(dtype);
  // Typed arrays begin at multiples of their element's size.
  const aligned = content.byteOffset % size === 0 ? content : Uint8Array.from(content);
  if (swapped) swapBytes(aligned, size);
  const { buffer, byteOffset, byteLength } = aligned;
  const Elements = array as unknown as new (
    ...place: [ArrayBufferLike, number, number]
  ) => TypedArray;
  let data = new Elements(buffer, byteOffset, byteLength / size);
  if (dtype === 'bool') data = data.map((value: number | bigint) => (value ? 1 : 0) as never);
  if (columnMajor) data = fromColumnMajor(data, shape);
  return { shape, dtype, data };
}

function parseDescription(header: string): { dtype: NpyDType; swapped: boolean } | null {
  const [, order, kind] = /'descr'\s*:\s*'([<>|=]?)(\w+)'/.exec(header) ?? [];
  const found = Object.entries(descriptions).find(([, description]) => description === kind);
  return found ? { dtype: found[0] as NpyDType, swapped: order === '>' } : null;
}

function unreadable(header: string): string {
  const found = /'descr'\s*:\s*('[^']{0,20}'|\[)/.exec(header)?.[1];
  const what = found === '[' ? 'records' : `elements of type ${found ?? 'unknown'}`;
  return `holds ${what}. Save it as one of ${Object.keys(descriptions).join(', ')}`;
}

function parseShape(header: string): number[] | null {
  const list = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(header)?.[1];
  if (list === undefined) return null;
  const extents = list.split(',').map((extent) => extent.trim());
  return extents.filter((extent) => extent !== '').map(Number);
}

/** Column-major elements in row-major order. */
function fromColumnMajor(data: TypedArray, shape: readonly number[]): TypedArray {
  const result = data.slice();
  const index = shape.map(() => 0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((a, b) => a * b, 1));
  let source = 0;
  for (let i = 0; i < data.length; i++) {
    result[i] = data[source];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += strides[axis];
      if (++index[axis] < shape[axis]) break;
      source -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

/** A .npy file to be. */
export interface NpyFile {
  /** Bytes of all parts together. */
  readonly size: number;
  readonly parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/**
 * The array as a .npy file: its header, then its elements, which share the array's memory.
 *
 * @param name names the array in errors
 * @throws ArgumentError when the elements are not as many as the shape says, or of another type
 */
export function formatNpy(name: string, array: NpyArray | StreamedNpyArray): NpyFile {
  const { shape, dtype } = array;
  check(Object.hasOwn(descriptions, dtype), () => {
    const types = Object.keys(descriptions).join(', ');
    return `writeNpz: ${name} is of ${dtype}. Expected one of ${types}.`;
  });
  const header = formatHeader(shape, dtype);
  const count = shape.reduce((product, extent) => product * extent, 1);
  const size = header.byteLength + count * dtypeInfo(dtype).bytes;
  if ('chunks' in array) return { size, parts: behind(header, array.chunks) };
  const { data } = array;
  check(data.constructor === dtypeInfo(dtype).array && data.length === count, () => {
    return `writeNpz: ${name} of shape [${shape.join(', ')}] needs ${count} elements in ${dtypeInfo(dtype).array.name}, got ${data.length} in ${data.constructor.name}.`;
  });
  return { size, parts: [header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)] };
}

async function* behind(
  header: Uint8Array,
  chunks: StreamedNpyArray['chunks'],
): AsyncGenerator<Uint8Array> {
  yield header;
  yield* chunks;
}

function formatHeader(shape: readonly number[], dtype: NpyDType): Buffer {
  const order = dtypeInfo(dtype).bytes === 1 ? '|' : '<'; // no byte order, or little-endian
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${order}${descriptions[dtype]}', 'fortran_order': False, 'shape': (${extents}), }`;
  // Spaces and a line break fill the header up, so that the elements begin aligned.
  const total = Math.ceil((magic.byteLength + 4 + text.length + 1) / alignment) * alignment;
  const header = Buffer.alloc(total, ' ');
  magic.copy(header);
  header.writeUInt16LE(1, 6); // version 1.0
  header.writeUInt16LE(total - 10, 8);
  header.write(text, 10, 'latin1');
  header.write('\n', total - 1);
  return header;
}
