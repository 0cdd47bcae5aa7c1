// npm test: setup, lint, type check, and every test; then one line that counts them. Arguments go to
// vitest: `npm test -- tests/graph.test.ts` runs that file, without the other checks.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
const selection = process.argv.slice(2);
const report = '.cache/vitest.json';

function run(what, command, ...args) {
  const start = Date.now();
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  console.log(
    `${what}: ${status === 0 ? 'ok' : 'FAILED'} (${((Date.now() - start) / 1000).toFixed(1)} s)`,
  );
  return status === 0;
}

if (!run('setup', process.execPath, 'scripts/setup.mjs')) process.exit(1);

// A failed check does not hide what the tests would say.
const checks =
  selection.length > 0
    ? [true]
    : [run('lint', 'npm', 'run', '-s', 'lint'), run('types', 'npm', 'run', '-s', 'typecheck')];

mkdirSync(dirname(report), { recursive: true });
rmSync(report, { force: true });
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
const tests = run('tests', 'npx', '--no-install', 'vitest', 'run', ...reporters, ...selection);

// A file that could not be loaded has no tests to count: it counts as one failure itself.
let { passed, failed, skipped } = { passed: 0, failed: 0, skipped: 0 };
if (existsSync(report)) {
  const result = JSON.parse(readFileSync(report, 'utf8'));
  passed = result.numPassedTests;
  skipped = result.numPendingTests + result.numTodoTests;
  const unloaded = result.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((t) => t.status === 'failed'),
  );
  failed = result.numFailedTests + unloaded.length;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(tests && checks.every(Boolean) && passed > 0 && failed === 0 ? 0 : 1);
