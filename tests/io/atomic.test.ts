import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { FileError, writeFileAtomic } from '../../lib/index.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();

test('writes text, bytes and pieces', async () => {
  await writeFileAtomic(inFolder('text'), 'größer');
  expect(readFileSync(inFolder('text'), 'utf8')).toBe('größer');
  await writeFileAtomic(inFolder('bytes'), Uint8Array.of(1, 2, 3));
  expect([...readFileSync(inFolder('bytes'))]).toEqual([1, 2, 3]);
  await writeFileAtomic(inFolder('pieces'), async (append) => {
    await append(Buffer.from('a'));
    await append(Buffer.from(''));
    await append(Buffer.from('bc'));
  });
  expect(readFileSync(inFolder('pieces'), 'utf8')).toBe('abc');
});

test('an interrupted write leaves the old file and nothing else', async () => {
  const path = inFolder('interrupted/model');
  mkdirSync(dirname(path));
  writeFileSync(path, 'old');
  const writing = writeFileAtomic(path, async (append) => {
    await append(Buffer.from('half of the new'));
    throw new RangeError('stopped here');
  });
  await expect(writing).rejects.toThrow(new RangeError('stopped here'));
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(dirname(path))).toEqual(['model']);
});

test('the old file stays visible until the new one is complete', async () => {
  const path = inFolder('visible');
  writeFileSync(path, 'old');
  await writeFileAtomic(path, async (append) => {
    await append(Buffer.from('new'));
    expect(readFileSync(path, 'utf8')).toBe('old');
  });
  expect(readFileSync(path, 'utf8')).toBe('new');
});

test('concurrent writers of one file do not mix', async () => {
  const texts = Array.from({ length: 8 }, (_, i) => String(i).repeat(10_000));
  await Promise.all(texts.map((text) => writeFileAtomic(inFolder('shared'), text)));
  expect(texts).toContain(readFileSync(inFolder('shared'), 'utf8'));
});

test('a missing folder is a FileError with the path and the reason', async () => {
  const path = inFolder('missing/file');
  await expect(writeFileAtomic(path, '')).rejects.toThrow(FileError);
  await expect(writeFileAtomic(path, '')).rejects.toThrow(/missing\/file.*ENOENT/);
});
