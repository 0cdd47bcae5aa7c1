// Pickles written by hand, opcode by opcode: what they mean, and what they may not do.
import { expect, test } from 'vitest';
import { FileError, Opaque, StorageRef, type TensorRef } from '../../../lib/index.js';
import { PickleBytes } from '../../../lib/io/torch/pickle_bytes.js';
import { collectTensors } from '../../../lib/io/torch/collect.js';
import { parseStorageId } from '../../../lib/io/torch/storage_id.js';
import { unpickle } from '../../../lib/io/torch/unpickler.js';
import type { CheckpointValue } from '../../../lib/io/torch/values.js';

const never = () => Promise.reject(new Error('nothing is read here'));
const file = { path: 'hand.pkl', bytes: 4, little: true, read: never };

function load(...parts: (string | number | Buffer)[]): CheckpointValue {
  const bytes = parts.map((part) =>
    typeof part === 'number'
      ? Buffer.of(part)
      : typeof part === 'string'
        ? Buffer.from(part, 'latin1')
        : part,
  );
  const pickle = new PickleBytes('hand.pkl', Buffer.concat(bytes), 0);
  return unpickle(pickle, (id) => {
    const { key, type, count } = parseStorageId(id);
    return new StorageRef(file, key, type, count);
  });
}

test('protocol 0, which is text', () => {
  const pickle =
    "(I5\nI01\nL-12L\nL36893488147419103232L\nF-2.5e3\nS'text'\nVz\\u00e4hler\nNlp0\n0g0\n.";
  expect(load(pickle)).toEqual([5, true, -12, 2n ** 65n, -2500, 'text', 'zähler', null]);
  expect(load('(dVkey\nI1\ns.')).toEqual(new Map([['key', 1]]));
  expect(load('ccollections\nOrderedDict\n((l(Va\nI1\nlatR.')).toEqual(new Map([['a', 1]]));
});

test('integers and floats of the binary protocols', () => {
  expect(
    load('(J', Buffer.of(0xfe, 0xff, 0xff, 0xff), 'K', 255, 'M', Buffer.of(1, 2), 't.'),
  ).toEqual([-2, 255, 0x0201]);
  expect(load(0x8a, 0, '.')).toBe(0);
  expect(load(0x8a, 2, Buffer.of(0, 0x80), '.')).toBe(-32768);
  expect(load(0x8a, 9, Buffer.from('000000000000000001', 'hex'), '.')).toBe(2n ** 64n);
  expect(load('G', Buffer.from('3ff8000000000000', 'hex'), '.')).toBe(1.5);
});

test('the later protocols', () => {
  const frame = Buffer.from('0500000000000000', 'hex');
  expect(load(0x80, 4, 0x95, frame, 0x8c, 2, 'ab', 0x94, 'h', 0, 0x86, '.')).toEqual(['ab', 'ab']);
  expect(load('(', 'K', 1, 'K', 2, 0x91, '.')).toEqual(new Set([1, 2]));
  expect(load('C', 2, 'ab', '.')).toEqual(Uint8Array.of(97, 98));
  expect(load(0x96, Buffer.from('0100000000000000', 'hex'), 'a', '.')).toEqual(Uint8Array.of(97));
});

test('objects that hold plain data become Maps of their attributes', () => {
  const expected = new Map<string, unknown>([['lr', 0.5]]);
  const attributes = '(Vlr\nF0.5\nd';
  const namespace = 'cargparse\nNamespace\n';
  expect(load(namespace, ')', 0x81, attributes, 'b.')).toEqual(expected);
  expect(load(namespace, ')}', 0x92, attributes, 'b.')).toEqual(expected);
  expect(load('(', namespace, 'o', attributes, 'b.')).toEqual(expected);
  expect(load('(iargparse\nNamespace\n', attributes, 'b.')).toEqual(expected);
  const object = 'c__builtin__\nobject\nN';
  expect(load('ccopy_reg\n_reconstructor\n(', namespace, object, 'tR', attributes, 'b.')).toEqual(
    expected,
  );
  const dictionary = 'cpytorch_lightning.utilities.parsing\nAttributeDict\n)';
  expect(load(dictionary, 0x81, '(Vlr\nF0.5\nu.')).toEqual(expected);
  expect(load('ccollections\ndefaultdict\nc__builtin__\nlist\n', 0x85, 'R(Vlr\nF0.5\nu.')).toEqual(
    expected,
  );
});

test('numbers of NumPy', () => {
  const float64 = 'cnumpy\ndtype\n(Vf8\nI00\nI01\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb';
  const value = ['C', 8, Buffer.from('000000000000f83f', 'hex')];
  expect(load('cnumpy.core.multiarray\nscalar\n(', float64, ...value, 'tR.')).toBe(1.5);
  const scalar = (type: string, hex: string) => {
    const of = float64.replace('Vf8', `V${type}`);
    const raw = Buffer.from(hex, 'hex');
    return load('cnumpy.core.multiarray\nscalar\n(', of, 'C', raw.length, raw, 'tR.');
  };
  expect(scalar('u2', 'ffff')).toBe(65535);
  expect(scalar('u4', 'ffffffff')).toBe(2 ** 32 - 1);
  expect(scalar('u8', '0100000000000000')).toBe(1);
  expect(scalar('f2', '003c')).toBeInstanceOf(Opaque);
  const bigEndian = float64.replace('V<', 'V>');
  expect(() => load('cnumpy.core.multiarray\nscalar\n(', bigEndian, ...value, 'tR.')).toThrow(
    /little-endian/,
  );
});

test('names stay names, and what only unknown ones would make stays closed', () => {
  expect(String(load('cos\nsystem\n.'))).toBe('os.system');
  const closed = new Opaque('os.system', ['ls']);
  expect(load('cos\nsystem\n(Vls\ntR.')).toEqual(closed);
  expect(load('(cos\nsystem\nVls\no.')).toEqual(closed);
  expect(load('cos\nsystem\n(Vls\nt', 0x81, '.')).toEqual(closed);
  const named = load('cos\nsystem\n)(Vcommand\nVls\nd', 0x92, '.');
  expect(named).toEqual(new Opaque('os.system', [[], new Map([['command', 'ls']])]));
  // What it is given afterwards, and what is made of it, is as closed.
  const given = load('ccollections\ndeque\n)R(I1\ne(Va\nI2\nu(I3\n', 0x90, '(Vb\nI4\ndb.');
  expect(given).toEqual(new Opaque('collections.deque', [1, 'a', 2, 3, new Map([['b', 4]])]));
  expect(load('cbuiltins\ngetattr\n(cos\nsystem\nVx\ntR(Vls\ntR.')).toEqual(
    new Opaque('builtins.getattr', ['ls']),
  );
  expect(() => load('c__builtin__\nlist\nc__builtin__\nlist\n', 0x85, 'R.')).toThrow(
    /does not take/,
  );
  expect(() => load('Vlist\n)R.')).toThrow(/no class or function/);
  expect(() => load('c', 'x'.repeat(600), '\ny\n.')).toThrow(/name of a class is too long/);
});

const storage = '(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI1\ntQ';

test('tensors with attributes of Python are the tensors alone', () => {
  const rebuild = 'ctorch._utils\n_rebuild_tensor_v2\n';
  const from = (func: string) =>
    load('ctorch._tensor\n_rebuild_from_type_v2\n(', func, 'ctorch\nTensor\n', args, '(dtR.');
  const args = `(${storage}I0\n(I1\nt(I1\ntI00\nNt`;
  expect((from(rebuild) as TensorRef).shape).toEqual([1]);
  expect(from('ctorch._utils\n_rebuild_wrapper_subclass\n')).toBeInstanceOf(Opaque);
  expect(() => from('ctorch._tensor\n_rebuild_from_type_v2\n')).toThrow(/does not take/);
});

test('element types beyond those known are told with the tensor; empty slices lie anywhere', () => {
  const typed = (type: string) => {
    const untyped = storage.replace('ctorch\nFloat', 'ctorch.storage\nUntyped');
    const view = 'I0\n(I1\nt(I1\ntI00\nN';
    return load('ctorch._utils\n_rebuild_tensor_v3\n(', untyped, view, `ctorch\n${type}\ntR.`);
  };
  expect(() => (typed('float8_e8m0fnu') as TensorRef).dtype).toThrow(/has dtype float8_e8m0fnu/);
  expect(String(typed('float3'))).toBe('<torch.float3>');
  const rebuild = 'ctorch._utils\n_rebuild_tensor_v2\n(';
  const slice = load(rebuild, storage, 'I26\n(I0\nI4\nt(I6\nI1\ntI00\nNtR.');
  expect((slice as TensorRef).shape).toEqual([0, 4]);
});

test('a tensor whose negation PyTorch has put off is not read as it was before', () => {
  const rebuild = 'ctorch._utils\n_rebuild_tensor_v2\n(';
  const saved = (bits: string) => load(rebuild, storage, 'I0\n(I1\nt(I1\ntI00\nN', bits, 'tR.');
  expect((saved('(Vneg\nI00\nd') as TensorRef).dtype).toBe('float32');
  for (const bit of ['neg', 'conj'])
    expect(() => (saved(`(V${bit}\nI01\nd`) as TensorRef).dtype).toThrow(
      `a tensor of shape [1] was saved with its ${bit} bit set`,
    );
});

test('marks and the stack are kept apart', () => {
  expect(load('K', 1, '(K', 2, '1.')).toBe(1);
  expect(load('K', 1, '(0.')).toBe(1);
  expect(() => load('K', 1, '(a.')).toThrow(/more values than the stack holds/);
  expect(() => load('K', 1, 't.')).toThrow(/no mark|none is set/);
  expect(() => load('}(K', 1, 'u.')).toThrow(/key without a value/);
  expect(() => load('K', 1, 'K', 2, 'a.')).toThrow(/what is not a list/);
});

test('a small pickle cannot make large values', () => {
  const items = '(' + 'N'.repeat(100_000) + 'lq\x00c__builtin__\nlist\nq\x01';
  expect(() => load(items, 'h\x01h\x00\x85R'.repeat(100), '.')).toThrow(/again and again/);
  expect(() => load('('.repeat(3_000_000), '.')).toThrow(/more than 2000000 opcodes/);
  expect(() => load('L', '9'.repeat(100_000), '\n.')).toThrow(FileError);
  expect(() => load('B', Buffer.from('ffffffff', 'hex'), '.')).toThrow(/4294967295 more bytes/);
  expect(() => load(0x8d, Buffer.alloc(8, 0xff), '.')).toThrow(/cut off/);
  expect(() => load('T', Buffer.from('ffffffff', 'hex'), '.')).toThrow(/length of -1/);
  const attributes =
    '}(' + Array.from({ length: 50_000 }, (_, i) => `V${i}\nN`).join('') + 'uq\x00';
  const object = 'cargparse\nNamespace\n)R';
  expect(() => load('(', attributes, `${object}h\x00b`.repeat(100), 't.')).toThrow(
    /again and again/,
  );
});

// A storage of one element, named by its persistent id, and a view of it.
const storageOf = (count: string) => `(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n${count}tQ`;
const viewOf = (shape: string, strides: string) =>
  `ctorch._utils\n_rebuild_tensor_v2\n(${storageOf('K\x01')}K\0${shape}${strides}tR`;

test('a small pickle cannot keep a reader busy', () => {
  // Each of these took time without bounds: the square of a length, or 2 to the power of 60.
  expect(() => load('F', '1'.repeat(5_000_000), 'x\n.')).toThrow(/is not a number/);
  const doubled = ')' + '2\x86'.repeat(60);
  expect(() => load('ctorch\ndevice\n(Vcuda\n', doubled, 'tR.')).toThrow(/torch\.device/);
  expect(() => load(storageOf(doubled), '.')).toThrow(/elements is not possible/);
  expect(() => load(viewOf(`${doubled}\x85`, 'K\x01\x85'), '.')).toThrow(/no possible size/);
  expect(() => load(viewOf(')', `(${'K\0'.repeat(100)}t`), '.')).toThrow(/has 100 axes/);
});

test('a small file cannot stand for gigabytes of names', () => {
  const value = load(`}(V${'p'.repeat(990)}\n(`, viewOf(')', ')'), '2'.repeat(100_000), 'lu.');
  expect(() => collectTensors('hand.pkl', value)).toThrow(/names of all tensors/);
});
