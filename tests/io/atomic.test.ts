import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { FileError, writeFileAtomic } from '../../lib/index.js';
import { writeFilesAtomic } from '../../lib/io/atomic.js';
import { root } from '../support/source_tree.js';
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

test('files that belong together are replaced when all are complete, the last one last', async () => {
  const [first, other, last] = ['first', 'other', 'last'].map((name) => inFolder(`set/${name}`));
  mkdirSync(dirname(first));
  for (const path of [first, other, last]) writeFileSync(path, 'old');
  const present = () => readdirSync(dirname(first)).filter((name) => !name.startsWith('.'));
  const broken = writeFilesAtomic([
    [first, 'new'],
    [other, null],
    [last, () => Promise.reject(new RangeError('stopped here'))],
  ]);
  await expect(broken).rejects.toThrow('stopped here');
  expect([first, other, last].map((path) => readFileSync(path, 'utf8'))).toEqual(
    Array(3).fill('old'),
  );
  expect(readdirSync(dirname(first))).toHaveLength(3);
  // What cannot be replaced stands for a kill half-way: nothing announces the mix.
  mkdirSync(inFolder('set/folder'));
  const halfway = writeFilesAtomic([
    [first, 'new'],
    [inFolder('set/folder'), 'new'],
    [last, 'new'],
  ]);
  await expect(halfway).rejects.toThrow(/set\/folder: cannot be written/);
  expect(present().sort()).toEqual(['first', 'folder', 'other']);
  await writeFilesAtomic([
    [first, 'newer'],
    [other, null],
    [last, 'newer'],
  ]);
  expect(present().sort()).toEqual(['first', 'folder', 'last']);
  expect(readFileSync(last, 'utf8')).toBe('newer');
});

test('names may be as long as the system allows', async () => {
  for (const name of ['x'.repeat(255), `${'ü'.repeat(125)}.png`, `x${'ü'.repeat(127)}`]) {
    await writeFileAtomic(inFolder(name), 'whole');
    expect(readFileSync(inFolder(name), 'utf8')).toBe('whole');
  }
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  'a process that %s ends leaves nothing',
  async (signal) => {
    const folder = inFolder(signal);
    mkdirSync(folder);
    const script = `
    import { writeFileAtomic } from './lib/io/atomic.ts';
    await writeFileAtomic(process.argv[1] + '/file', async (append) => {
      await append(Buffer.from('half'));
      console.log('begun');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
    const command = ['--import', './scripts/typescript.mjs', '--input-type=module', '-e', script];
    const child = spawn(process.execPath, [...command, folder], { cwd: root });
    onTestFinished(() => void child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    expect(readdirSync(folder)).toHaveLength(1);
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([null, signal]);
    expect(readdirSync(folder)).toEqual([]);
  },
);

test('a missing folder is a FileError with the path and the reason', async () => {
  const path = inFolder('missing/file');
  await expect(writeFileAtomic(path, '')).rejects.toThrow(FileError);
  await expect(writeFileAtomic(path, '')).rejects.toThrow(/missing\/file.*ENOENT/);
});
