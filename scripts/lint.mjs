// Formatters and linter over the whole project; `--fix` writes what they can mend.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const fix = process.argv.includes('--fix');
const cache = '.cache';
const native = ['native', 'tests/emulator'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(h|cc|cu|cuh)$/.test(name))
    .map((name) => join(folder, name)),
);

const checks = [
  ['prettier', fix ? '--write' : '--check', '--log-level', 'warn', '--cache']
    .concat('--cache-location', `${cache}/prettier`)
    .concat('{lib,tests,bench,examples,scripts}/**/*.{ts,mjs}', '*.{js,ts}'),
  ['eslint', '.', '--cache', '--cache-location', `${cache}/eslint`].concat(fix ? '--fix' : []),
  ['clang-format', ...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...native],
];

let failed = false;
for (const [tool, ...args] of checks) {
  const { status } = spawnSync('npx', ['--no-install', tool, ...args], { stdio: 'inherit' });
  if (status === 0) continue;
  failed = true;
  console.error(`lint: ${tool} is not content${fix ? '' : "; 'npm run format' mends formatting"}`);
}
process.exit(failed ? 1 : 0);
