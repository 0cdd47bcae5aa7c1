// NumPy's files, byte by byte: what numpy.load needs to find, and what Python wrote of the same arrays.
import { readdirSync, readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { ArgumentError, tensor, writeNpy, writeNpz } from '../../lib/index.js';
import { withFile } from '../../lib/io/positional.js';
import { contentOf, readZipDirectory } from '../../lib/io/torch/zip.js';
import { temporaryFolder } from './temporary.js';

const file = temporaryFolder();

// numpy.save of numpy.array([[1, 2, 3], [4, 5, 6]], numpy.float32)
const saved = Buffer.concat([
  Buffer.from('934e554d505901007600', 'hex'),
  Buffer.from("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117) + '\n'),
  Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer),
]);

/** The entries of an archive, checked by the reader of PyTorch's archives. */
async function unpack(path: string): Promise<Map<string, Buffer>> {
  const bytes = readFileSync(path);
  return withFile(path, async (handle) => {
    const entries = await readZipDirectory(path, handle, bytes.length);
    const contents = new Map<string, Buffer>();
    for (const entry of entries.values()) {
      const begin = await contentOf(path, handle, entry);
      const content = bytes.subarray(begin, begin + entry.size);
      expect(crc32(content)).toBe(entry.crc);
      contents.set(entry.name, content);
    }
    return contents;
  });
}

test('an array is what numpy.save writes', async () => {
  await writeNpy(file('a.npy'), tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] }));
  expect(readFileSync(file('a.npy'))).toEqual(saved);
});

test.each([
  ['uint8', '|u1', [3], '(3,)'],
  ['int64', '<i8', [1, 3], '(1, 3)'],
  ['bool', '|b1', [3, 1, 1], '(3, 1, 1)'],
  ['float16', '<f2', [3], '(3,)'],
  ['float64', '<f8', [3], '(3,)'],
] as const)('%s is %s', async (dtype, descr, shape, tuple) => {
  await writeNpy(file('d.npy'), tensor([1, 0, 1], { shape, dtype }));
  const bytes = readFileSync(file('d.npy'));
  const text = bytes.toString('latin1', 10, 128);
  expect(text.trimEnd()).toBe(`{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`);
  expect(bytes.readUInt16LE(8)).toBe(118);
});

test('an array without axes is one number', async () => {
  await writeNpy(file('s.npy'), tensor(2));
  expect(readFileSync(file('s.npy'), 'latin1')).toContain("'shape': (), }");
});

test('an archive holds its arrays whole, streamed or not, and always in the same bytes', async () => {
  const rows = [Uint8Array.of(1, 2), Uint8Array.of(3, 4), Uint8Array.of(5, 6)];
  const arrays = {
    arr_0: { shape: [3, 2], dtype: 'uint8' as const, chunks: rows },
    labels: tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] }),
  };
  await writeNpz(file('a.npz'), arrays);
  const entries = await unpack(file('a.npz'));
  expect([...entries.keys()]).toEqual(['arr_0.npy', 'labels.npy']);
  expect(entries.get('labels.npy')).toEqual(saved);
  expect([...entries.get('arr_0.npy')!.subarray(128)]).toEqual([1, 2, 3, 4, 5, 6]);
  await writeNpz(file('b.npz'), arrays);
  expect(readFileSync(file('b.npz'))).toEqual(readFileSync(file('a.npz')));
});

test('what cannot be is refused, and leaves no file', async () => {
  const one = { shape: [2, 2], dtype: 'uint8' as const };
  const short = { ...one, chunks: [Uint8Array.of(1, 2, 3)] };
  const refused = file('never.npz');
  await expect(writeNpz(refused, { a: short })).rejects.toThrow(/needs 4 bytes.*hold 3/);
  await expect(writeNpz(refused, { '../a': short })).rejects.toThrow(ArgumentError);
  const low = tensor([1, 2]).to('bfloat16');
  await expect(writeNpz(refused, { a: low })).rejects.toThrow(/NumPy has no bfloat16/);
  expect(readdirSync(file('.')).filter((name) => name.includes('never'))).toEqual([]);
});
