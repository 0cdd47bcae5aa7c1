// NumPy's files: .npy holds one array, .npz is a zip archive of them, which is how samples go to Python.
import { crc32 } from 'node:zlib';
import { dtypeInfo, type DType } from '../dtype.js';
import { ArgumentError, check } from '../errors.js';
import { Tensor } from '../tensor.js';
import { writeFileAtomic, type Append } from './atomic.js';
import { bytesOf } from './tensor_bytes.js';

/** An array that is written piece by piece, so that it need not fit into memory. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Its bytes from the first to the last, little-endian and row-major. */
  readonly chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const descriptions: Partial<Record<DType, string>> = {
  float32: '<f4',
  float16: '<f2',
  float64: '<f8',
  int32: '<i4',
  int64: '<i8',
  uint8: '|u1',
  bool: '|b1',
};

/**
 * Writes an array as `.npy`, atomically: `numpy.load` opens it.
 * @throws ArgumentError for bfloat16, which NumPy lacks, or when chunks are not what the shape says
 */
export async function writeNpy(path: string, array: Tensor | NpyArray): Promise<void> {
  const { header, body } = encode(path, array);
  await writeFileAtomic(path, async (append) => {
    await append(header);
    for await (const chunk of body()) await append(chunk);
  });
}

/**
 * Writes arrays as `.npz`, atomically and not compressed, as `numpy.savez` does: `numpy.load(path)['arr_0']`.
 *
 * @param arrays by name
 * @throws ArgumentError as {@link writeNpy}, or for names that cannot be files'
 */
export async function writeNpz(
  path: string,
  arrays: Readonly<Record<string, Tensor | NpyArray>>,
): Promise<void> {
  const encoded = Object.entries(arrays).map(([name, array]) => {
    check(/^[\w.-]+$/.test(name), () => {
      return `writeNpz: '${name}' cannot name an array; use letters, digits, _, - and dots.`;
    });
    return { name: Buffer.from(`${name}.npy`), ...encode(path, array) };
  });
  await writeFileAtomic(path, async (append) => {
    const archive = new Archive(append);
    for (const { name, header, size, body } of encoded)
      await archive.add(name, header.length + size, header, body());
    await archive.finish();
  });
}

interface Encoded {
  header: Uint8Array;
  /** bytes behind the header */
  size: number;
  body(): AsyncIterable<Uint8Array>;
}

function encode(path: string, array: Tensor | NpyArray): Encoded {
  const { shape, dtype } = array;
  const descr = descriptions[dtype];
  if (!descr)
    throw new ArgumentError(`${path}: NumPy has no ${dtype}; convert the tensor to float32 first.`);
  const size = shape.reduce((a, b) => a * b, dtypeInfo(dtype).bytes);
  const chunks = array instanceof Tensor ? ofTensor(array) : array.chunks;
  return { header: headerOf(descr, shape), size, body: () => counted(path, chunks, size) };
}

// Version 1.0 of the format: a Python literal, padded with spaces until the data begin at a multiple of 64.
function headerOf(descr: string, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const before = 10;
  const length = Math.ceil((before + text.length + 1) / 64) * 64 - before;
  const bytes = Buffer.alloc(before + length, ' ');
  bytes.write('\x93NUMPY\x01\x00', 'latin1');
  bytes.writeUInt16LE(length, 8);
  bytes.write(text, before, 'latin1');
  bytes.write('\n', before + length - 1);
  return bytes;
}

async function* ofTensor(tensor: Tensor): AsyncGenerator<Uint8Array> {
  yield await bytesOf(tensor);
}

async function* counted(
  path: string,
  chunks: NpyArray['chunks'],
  size: number,
): AsyncGenerator<Uint8Array> {
  let given = 0;
  for await (const chunk of chunks) {
    given += chunk.byteLength;
    yield chunk;
  }
  check(given === size, () => {
    return `${path}: the array's shape needs ${size} bytes, and its chunks hold ${given}.`;
  });
}

const local = 0x04034b50;
const descriptor = 0x08074b50;
const entry = 0x02014b50;
const end64 = 0x06064b50;
const locator64 = 0x07064b50;
const end = 0x06054b50;
// Sizes and positions are in the zip64 fields, whatever they are: one form of the format is enough.
const elsewhere = 0xffffffff;
const version = 45;
// Checksum and sizes follow the data, because they are known only then.
const streamed = 0x0008;
// 1980-01-01: the same arrays give the same bytes.
const date = 0x0021;

/** A zip archive of stored entries, written front to back. */
class Archive {
  private at = 0;
  private readonly directory: Buffer[] = [];

  constructor(private readonly append: Append) {}

  async add(
    name: Buffer,
    size: number,
    header: Uint8Array,
    body: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const begin = this.at;
    await this.write(
      record({ u32: [local] }, common(0), { u32: [elsewhere, elsewhere] }, lengths(name, 20)),
    );
    await this.write(name);
    await this.write(record({ u16: [1, 16] }, { u64: [size, size] }));
    let crc = crc32(header);
    await this.write(header);
    for await (const chunk of body) {
      crc = crc32(chunk, crc);
      await this.write(chunk);
    }
    await this.write(record({ u32: [descriptor, crc] }, { u64: [size, size] }));
    this.directory.push(
      record(
        { u32: [entry] },
        { u16: [version] },
        common(crc),
        { u32: [elsewhere, elsewhere] },
        lengths(name, 28),
        // no comment, first disk, plain data
        { u16: [0, 0, 0], u32: [0, elsewhere] },
      ),
      name,
      record({ u16: [1, 24] }, { u64: [size, size, begin] }),
    );
  }

  async finish(): Promise<void> {
    const begin = this.at;
    const count = this.directory.length / 3;
    const directory = Buffer.concat(this.directory);
    await this.write(directory);
    const position = this.at;
    await this.write(
      record(
        { u32: [end64] },
        { u64: [44] },
        { u16: [version, version], u32: [0, 0] },
        { u64: [count, count, directory.length, begin] },
        { u32: [locator64, 0] },
        { u64: [position] },
        { u32: [1, end] },
        { u16: [0, 0, 0xffff, 0xffff], u32: [elsewhere, elsewhere] },
        { u16: [0] },
      ),
    );
  }

  private async write(bytes: Uint8Array): Promise<void> {
    this.at += bytes.byteLength;
    await this.append(bytes);
  }
}

/** What a local header and an entry of the directory share: version, flags, method, time, checksum. */
const common = (crc: number): Fields => ({ u16: [version, streamed, 0, 0, date], u32: [crc] });

const lengths = (name: Buffer, extra: number): Fields => ({ u16: [name.length, extra] });

/** Numbers of a record, the narrower first. */
interface Fields {
  u16?: readonly number[];
  u32?: readonly number[];
  u64?: readonly number[];
}

function record(...parts: readonly Fields[]): Buffer {
  const bytes: Buffer[] = [];
  for (const { u16 = [], u32 = [], u64 = [] } of parts) {
    const part = Buffer.alloc(2 * u16.length + 4 * u32.length + 8 * u64.length);
    let at = 0;
    for (const value of u16) at = part.writeUInt16LE(value, at);
    for (const value of u32) at = part.writeUInt32LE(value, at);
    for (const value of u64) at = part.writeBigUInt64LE(BigInt(value), at);
    bytes.push(part);
  }
  return Buffer.concat(bytes);
}
