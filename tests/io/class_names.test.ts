// Names of classes beside a model, or in a file of their own.
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readClassNames } from '../../lib/index.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();

test('are the lines of classes.txt, whatever ends them', async () => {
  mkdirSync(inFolder('model'));
  writeFileSync(inFolder('model/classes.txt'), 'tench, Tinca tinca\r\n\r\nred fox\r\n');
  expect(await readClassNames(inFolder('model'))).toEqual(['tench, Tinca tinca', '', 'red fox']);
  writeFileSync(inFolder('other.txt'), 'hen\nowl');
  expect(await readClassNames(inFolder('model'), inFolder('other.txt'))).toEqual(['hen', 'owl']);
});

test('are none where the folder has none, and asked for where a file is named', async () => {
  expect(await readClassNames(inFolder('nowhere'))).toEqual([]);
  writeFileSync(inFolder('model.ckpt'), '');
  expect(await readClassNames(inFolder('model.ckpt'))).toEqual([]);
  await expect(readClassNames(inFolder(''), inFolder('names.txt'))).rejects.toThrow(/names\.txt/);
});
