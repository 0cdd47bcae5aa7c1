// NumPy's arrays in zip archives: what NumPy wrote, what we write, and files that are damaged or lie.
import { readFileSync, writeFileSync } from 'node:fs';
import { crc32, deflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  describeNpz,
  FileError,
  readNpz,
  visitNpzRows,
  writeNpz,
  type NpyArray,
} from '../../lib/index.js';
import { formatNpy, parseNpy } from '../../lib/io/npy.js';
import { golden, temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();

const arrays: [string, NpyArray][] = [
  ['mu', { shape: [3], dtype: 'float64', data: Float64Array.of(1, -2.5, Math.PI) }],
  ['sigma', { shape: [2, 3], dtype: 'float32', data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
  ['labels', { shape: [2], dtype: 'int64', data: BigInt64Array.of(7n, -(2n ** 60n)) }],
  ['counts', { shape: [2, 1], dtype: 'int32', data: Int32Array.of(-1, 9) }],
  ['pictures', { shape: [1, 1, 2, 3], dtype: 'uint8', data: Uint8Array.of(0, 1, 2, 3, 4, 255) }],
  ['flags', { shape: [2], dtype: 'bool', data: Uint8Array.of(1, 0) }],
  ['scalar', { shape: [], dtype: 'float64', data: Float64Array.of(4) }],
  ['nothing', { shape: [0, 4], dtype: 'float32', data: new Float32Array(0) }],
];

// A zip of one entry as a plain writer makes it, with fields that a test may falsify.
interface Fields {
  name?: string;
  deflated?: boolean;
  size?: number;
  crc?: number;
  method?: number;
}
function zipOf(content: Buffer, fields: Fields = {}): Buffer {
  const { name = 'mu.npy', deflated = false, size = content.byteLength } = fields;
  const { crc = crc32(content), method = deflated ? 8 : 0 } = fields;
  const packed = deflated ? deflateRawSync(content) : content;
  const common = Buffer.alloc(26);
  common.writeUInt16LE(20, 0);
  common.writeUInt16LE(method, 4);
  common.writeUInt32LE(crc, 10);
  common.writeUInt32LE(packed.byteLength, 14);
  common.writeUInt32LE(size, 18);
  common.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), packed]);
  const entry = Buffer.concat([
    Buffer.from('PK\x01\x02\x14\x00'),
    common,
    Buffer.alloc(14),
    Buffer.from(name),
  ]);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(entry.byteLength, 12);
  end.writeUInt32LE(local.byteLength, 16);
  return Buffer.concat([local, entry, end]);
}

// A .npy with any header.
function npyOf(header: string, content = Buffer.alloc(0)): Buffer {
  const start = Buffer.from('\x93NUMPY\x01\x00\x00\x00', 'latin1');
  start.writeUInt16LE(header.length, 8);
  return Buffer.concat([start, Buffer.from(header, 'latin1'), content]);
}
const headerOf = (descr: string, shape: string, order = 'False') =>
  `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': (${shape}), }`;

async function readBytes(name: string, bytes: Buffer): Promise<Map<string, NpyArray>> {
  writeFileSync(inFolder(name), bytes);
  return readNpz(inFolder(name));
}

const partsOf = (name: string, array: NpyArray): Uint8Array[] => [
  ...(formatNpy(name, array).parts as Iterable<Uint8Array>),
];
const fileOf = (name: string, array: NpyArray): Buffer => Buffer.concat(partsOf(name, array));
const headerBytes = (name: string, array: NpyArray): number => partsOf(name, array)[0].byteLength;

describe('round trips', () => {
  test('every dtype and rank comes back', async () => {
    await writeNpz(inFolder('all.npz'), arrays);
    expect(await readNpz(inFolder('all.npz'))).toEqual(new Map(arrays));
  });

  test('an array that comes in pieces is written as one that is whole', async () => {
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6);
    const one = { shape: [3, 2], dtype: 'uint8' } as const;
    await writeNpz(inFolder('whole_array.npz'), [['a', { ...one, data }]]);
    const pieces = async function* () {
      for (let at = 0; at < 6; at += 2) yield await Promise.resolve(data.subarray(at, at + 2));
    };
    await writeNpz(inFolder('pieces.npz'), [['a', { ...one, chunks: pieces() }]]);
    expect(readFileSync(inFolder('pieces.npz'))).toEqual(readFileSync(inFolder('whole_array.npz')));
    const short = writeNpz(inFolder('never.npz'), [['a', { ...one, chunks: [data.subarray(1)] }]]);
    await expect(short).rejects.toThrow(/was to have 134 bytes, and its parts have 133/);
    await expect(readNpz(inFolder('never.npz'))).rejects.toThrow(/no such file/);
  });

  test('equal arrays make equal files, and a Map is written as read', async () => {
    await writeNpz(inFolder('a.npz'), arrays);
    await writeNpz(inFolder('b.npz'), await readNpz(inFolder('a.npz')));
    expect(readFileSync(inFolder('b.npz'))).toEqual(readFileSync(inFolder('a.npz')));
  });

  test('elements begin at a multiple of 64 bytes, as NumPy has it', () => {
    for (const [name, array] of arrays) expect(headerBytes(name, array) % 64).toBe(0);
  });
});

describe("NumPy's own files", () => {
  test.each(['numpy_saved.npz', 'numpy_compressed.npz'])('%s', async (name) => {
    const read = await readNpz(golden(`npz/${name}`));
    expect(read.get('mu')?.data).toEqual(Float64Array.of(0, 0.5, 1));
    // Saved in column-major order.
    const sigma = { shape: [2, 3], dtype: 'float64', data: Float64Array.of(0, 1, 2, 3, 4, 5) };
    expect(read.get('sigma')).toEqual(sigma);
    // Saved big-endian.
    const counts = { shape: [2, 2], dtype: 'int32', data: Int32Array.of(0, 1, 2, 3) };
    expect(read.get('counts')).toEqual(counts);
    expect(read.get('flags')?.data).toEqual(Uint8Array.of(1, 0));
    expect(read.get('scalar')).toEqual({ shape: [], dtype: 'uint8', data: Uint8Array.of(5) });
  });

  test('pickled objects are refused, and nothing of them is interpreted', async () => {
    await expect(readNpz(golden('npz/numpy_object.npz'))).rejects.toThrow(/elements of type '\|O'/);
  });
});

describe('what is refused', () => {
  const array = fileOf('mu', arrays[0][1]);

  test('a plain archive is read, so that the next ones fail for their own reason', async () => {
    const expected = new Map([arrays[0]]);
    expect(await readBytes('plain.npz', zipOf(array))).toEqual(expected);
    expect(await readBytes('deflated.npz', zipOf(array, { deflated: true }))).toEqual(expected);
    expect(await readBytes('other.npz', zipOf(array, { name: 'readme' }))).toEqual(new Map());
  });

  test.each<[string, Fields, RegExp]>([
    ['a wrong checksum', { crc: 1 }, /checksum of mu\.npy does not match/],
    ['a wrong checksum of packed bytes', { crc: 1, deflated: true }, /checksum of mu\.npy/],
    ['a size that the packed bytes exceed', { size: 10, deflated: true }, /cannot be unpacked/],
    ['a size that they do not reach', { size: 5000, deflated: true }, /unpacks to other than/],
    ['a size beyond all packing', { size: 2 ** 31, deflated: true }, /cannot unpack to 2147483648/],
    ['two sizes of stored bytes', { size: 10 }, /has two sizes/],
    ['an unknown packing', { method: 12 }, /compressed by method 12/],
  ])('%s', async (name, fields, message) => {
    await expect(readBytes('bad.npz', zipOf(array, fields))).rejects.toThrow(message);
  });

  test('packed bytes that are no packing', async () => {
    const bytes = zipOf(array, { deflated: true });
    bytes.fill(0xff, 40, 60);
    await expect(readBytes('noise.npz', bytes)).rejects.toThrow(/cannot be unpacked/);
  });

  test('more bytes than allowed, before any is unpacked', async () => {
    const data = new Float64Array(1 << 17);
    const zeros = fileOf('mu', { shape: [1 << 17], dtype: 'float64', data });
    const path = inFolder('large.npz');
    writeFileSync(path, zipOf(zeros, { deflated: true }));
    expect((await readNpz(path)).get('mu')?.data.length).toBe(1 << 17);
    await expect(readNpz(path, { maxBytes: 1 << 19 })).rejects.toThrow(/more than the 524288/);
  });

  test.each<[string, Buffer, RegExp]>([
    ['no magic', Buffer.from('no array at all'), /is no \.npy array/],
    ['an empty entry', Buffer.alloc(0), /is no \.npy array/],
    ['a version to come', Buffer.from('\x93NUMPY\x09\x00\x00\x00  ', 'latin1'), /version 9/],
    [
      'a header beyond the file',
      Buffer.from('\x93NUMPY\x01\x00\xff\xff  ', 'latin1'),
      /header of 65535/,
    ],
    ['records', npyOf(headerOf("[('a', '<f8')]", '1,')), /holds records/],
    ['text', npyOf(headerOf("'<U9'", '1,')), /type '<U9'.*float64/],
    ['half precision', npyOf(headerOf("'<f2'", '1,')), /type '<f2'/],
    ['no shape', npyOf("{'descr': '<f8', 'fortran_order': False}"), /no shape/],
    ['a negative shape', npyOf(headerOf("'<f8'", '-1,')), /no shape/],
    ['no order', npyOf("{'descr': '<f8', 'shape': (1,)}"), /no order/],
    ['a short array', npyOf(headerOf("'<f8'", '3,'), Buffer.alloc(16)), /24 bytes, but 16/],
    ['a long array', npyOf(headerOf("'<f8'", '1,'), Buffer.alloc(16)), /8 bytes, but 16/],
    [
      'an absurd shape',
      npyOf(headerOf("'<f8'", '4294967296, 4294967296, 4294967296')),
      /but 0 bytes/,
    ],
    ['code', npyOf("__import__('os').system('true')"), /type unknown/],
  ])('%s', async (name, bytes, message) => {
    await expect(readBytes('bad.npz', zipOf(bytes))).rejects.toThrow(FileError);
    await expect(readBytes('bad.npz', zipOf(bytes))).rejects.toThrow(message);
  });

  test('files cut off or damaged anywhere are read or refused', async () => {
    await writeNpz(inFolder('whole.npz'), arrays.slice(0, 2));
    const whole = readFileSync(inFolder('whole.npz'));
    for (let at = 0; at < whole.byteLength; at += 7) {
      await expect(readBytes('cut.npz', whole.subarray(0, at))).rejects.toThrow(FileError);
      const damaged = Buffer.from(whole);
      damaged[at] ^= 0x55;
      await readBytes('damaged.npz', damaged).catch((error: unknown) => {
        expect(error).toBeInstanceOf(FileError);
      });
    }
  });

  test('arrays that contradict themselves are not written', async () => {
    const data = Float32Array.of(1, 2);
    const write = (array: unknown) => writeNpz(inFolder('never.npz'), [['x', array as NpyArray]]);
    await expect(write({ shape: [3], dtype: 'float32', data })).rejects.toThrow(
      /3 elements in Float32Array, got 2/,
    );
    await expect(write({ shape: [2], dtype: 'float64', data })).rejects.toThrow(ArgumentError);
    await expect(write({ shape: [2], dtype: 'float16', data })).rejects.toThrow(
      /is of float16. Expected one of float64/,
    );
    await expect(readNpz(inFolder('never.npz'))).rejects.toThrow(/no such file/);
  });
});

test('elements at an odd place are copied, not refused', () => {
  const bytes = Buffer.concat([
    Buffer.alloc(1),
    npyOf(headerOf("'<f8'", '1,'), Buffer.alloc(8, 1)),
  ]);
  const { data } = parseNpy('x.npz', 'x.npy', bytes.subarray(1));
  expect(data).toEqual(new Float64Array(Uint8Array.from(Buffer.alloc(8, 1)).buffer));
});

describe('rows', () => {
  const data = Uint8Array.from({ length: 50_000 * 6 }, (_, i) => (i * 7) ^ (i >> 8));
  const rows: NpyArray = { shape: [50_000, 2, 3], dtype: 'uint8', data };
  const bytes = fileOf('mu', rows);

  async function readRows(name: string, zip: Buffer, group: number): Promise<Buffer> {
    writeFileSync(inFolder(name), zip);
    const parts: Uint8Array[] = [];
    await visitNpzRows(inFolder(name), 'mu', group, (part, first) => {
      expect(first).toBe(parts.length * group);
      parts.push(part);
      return Promise.resolve();
    });
    return Buffer.concat(parts);
  }

  test.each([false, true])('come in groups of any size, deflated: %s', async (deflated) => {
    const zip = zipOf(bytes, { deflated });
    for (const group of [50_000, 77])
      expect((await readRows('rows.npz', zip, group)).equals(data)).toBe(true);
    expect([...(await describeNpz(inFolder('rows.npz'))).values()]).toMatchObject([
      { shape: [50_000, 2, 3], dtype: 'uint8' },
    ]);
  });

  test('a reader that fails ends the reading, and the file is closed', async () => {
    writeFileSync(inFolder('rows.npz'), zipOf(bytes, { deflated: true }));
    let called = 0;
    const visit = () => Promise.reject(new Error(`enough ${++called}`));
    await expect(visitNpzRows(inFolder('rows.npz'), 'mu', 5, visit)).rejects.toThrow('enough 1');
  });

  test.each<[string, Buffer, RegExp]>([
    ['a wrong checksum', zipOf(bytes, { crc: 1 }), /checksum of mu\.npy/],
    ['a wrong checksum of packed bytes', zipOf(bytes, { crc: 1, deflated: true }), /checksum/],
    ['another array', zipOf(bytes, { name: 'nu.npy' }), /there is no array mu/],
    ['columns', zipOf(npyOf(headerOf("'|u1'", '1,', 'True'), Buffer.alloc(1))), /column-major/],
    ['big-endian', zipOf(npyOf(headerOf("'>i4'", '1,'), Buffer.alloc(4))), /big-endian/],
    ['rows without end', zipOf(npyOf(headerOf("'|u1'", '9007199254740991, 0'))), /is empty/],
    ['a lie', zipOf(npyOf(headerOf("'|u1'", '9,'), Buffer.alloc(8))), /9 bytes, but 8/],
    ['too little', zipOf(bytes, { size: bytes.length + 6, deflated: true }), /but 300006/],
  ])('%s', async (_, zip, message) => {
    await expect(readRows('bad.npz', zip, 1000)).rejects.toThrow(FileError);
    await expect(readRows('bad.npz', zip, 1000)).rejects.toThrow(message);
  });

  test('packed bytes that are no packing', async () => {
    const zip = zipOf(bytes, { deflated: true });
    zip.fill(0xff, 40, 60);
    await expect(readRows('noise.npz', zip, 10)).rejects.toThrow(/cannot be unpacked/);
  });
});
