// What `npm publish` would send: everything that the library reads when it runs.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { root, source, sourceFiles } from '../support/source_tree.js';

let packed: Set<string>;

beforeAll(() => {
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    ...{ cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  });
  const [{ files }] = JSON.parse(said) as [{ files: { path: string }[] }];
  packed = new Set(files.map(({ path }) => path));
});

test('holds the files that the sources name', () => {
  const named = sourceFiles(['lib'], ['.ts']).flatMap((path) =>
    [...source(path).matchAll(/'((?:assets|configs)\/[\w./-]+)'/g)].map(([, name]) => name),
  );
  expect(named).toContain('assets/emoji_extractor.safetensors');
  for (const name of named) {
    expect(existsSync(join(root, name)), name).toBe(true);
    expect(packed, name).toContain(name);
  }
  for (const name of ['package.json', 'README.md', 'LICENSE', 'CMakeLists.txt', 'binding.gyp'])
    expect(packed).toContain(name);
});

test('the sources are TypeScript alone, since nothing else comes out of the build', () => {
  const files = readdirSync(join(root, 'lib'), { recursive: true, withFileTypes: true });
  const others = files.filter((entry) => entry.isFile() && !entry.name.endsWith('.ts'));
  expect(others.map(({ name }) => name)).toEqual([]);
});
