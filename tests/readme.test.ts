// The README's first program is a promise: it runs as printed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { root, source } from './support/source_tree.js';

const readme = source('README.md');

test('the README fits its size: 120 lines, code by line 40', () => {
  const lines = readme.trimEnd().split('\n');
  expect(lines.length).toBeLessThanOrEqual(120);
  expect(lines.findIndex((line) => line.startsWith('```ts'))).toBeLessThan(40);
});

test('the training snippet runs and learns', () => {
  const snippet = /```ts\n([\s\S]*?)```/.exec(readme)![1];
  const library = pathToFileURL(join(root, 'lib/index.ts')).href;
  const folder = mkdtempSync(join(tmpdir(), 'emulsion-readme-'));
  try {
    const file = join(folder, 'snippet.ts');
    writeFileSync(file, snippet.replace(`'emulsion'`, `'${library}'`));
    const args = ['--import', './scripts/typescript.mjs', file];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
    const losses = [...stdout.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
    expect(losses, stderr).toHaveLength(5);
    expect(losses[4]).toBeLessThan(losses[0] / 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
