// npm test: setup, lint, type check, and every test, on the machine's devices and on an emulated GPU; then
// one line that counts them. Arguments go to vitest: `npm test -- tests/graph.test.ts` runs that file,
// without the other checks.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasCMake } from './prerequisites.mjs';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
const selection = process.argv.slice(2);

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

mkdirSync('.cache', { recursive: true });

/** Runs tests that report to a file as well, and counts them. */
function counted(what, file, command, ...args) {
  rmSync(file, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const ended = run(what, command, ...args, ...reporters, ...selection);
  if (!existsSync(file)) return { ended, passed: 0, failed: 0, skipped: 0 };
  const result = JSON.parse(readFileSync(file, 'utf8'));
  // A file that could not be loaded has no tests to count: it counts as one failure itself.
  const unloaded = result.testResults.filter(
    (each) => each.status === 'failed' && !each.assertionResults.some((t) => t.status === 'failed'),
  );
  return {
    ended,
    passed: result.numPassedTests,
    failed: result.numFailedTests + unloaded.length,
    skipped: result.numPendingTests + result.numTodoTests,
  };
}

const suites = [counted('tests', '.cache/vitest.json', 'npx', '--no-install', 'vitest', 'run')];
// What -t leaves out there counts as skipped, and is what the suite above has run.
if (selection.length === 0 && process.platform === 'linux' && hasCMake()) {
  const emulated = counted(
    'emulated GPU',
    '.cache/vitest_emulated.json',
    process.execPath,
    'scripts/test_emulated.mjs',
  );
  suites.push({ ...emulated, skipped: 0 });
}

const total = (key) => suites.reduce((sum, suite) => sum + suite[key], 0);
console.log(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
const good = suites.every(({ ended, passed, failed }) => ended && passed > 0 && failed === 0);
process.exit(good && checks.every(Boolean) ? 0 : 1);
