// npm test: setup, lint, type check, and every test, on the machine's devices and on an emulated GPU; then
// one line that counts them. Arguments go to vitest: `npm test -- tests/graph.test.ts` runs that file,
// without the other checks.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, relative } from 'node:path';
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

/** What failed in a file, a line each with the first line of its message. */
function failuresOf({ name, status, message, assertionResults }) {
  const line = (what, text) => `${relative('.', name)}: ${what}\n    ${text.split('\n', 1)[0]}`;
  const tests = assertionResults
    .filter((test) => test.status === 'failed')
    .map((test) => line(test.fullName, test.failureMessages[0] ?? ''));
  // A file that could not be loaded has no tests to count: it counts as one failure itself.
  return status === 'failed' && tests.length === 0 ? [line('not loaded', message)] : tests;
}

/** Runs tests that report to a file as well, and counts them. */
function counted(what, file, command, ...args) {
  rmSync(file, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const ended = run(what, command, ...args, ...reporters, ...selection);
  if (!existsSync(file)) return { ended, passed: 0, failures: [], skipped: 0 };
  const result = JSON.parse(readFileSync(file, 'utf8'));
  return {
    ended,
    passed: result.numPassedTests,
    failures: result.testResults.flatMap(failuresOf),
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

// Named again at the end: thousands of lines may stand between a failure and here.
const failures = suites.flatMap((suite) => suite.failures);
if (failures.length > 0) console.log(['Failed:', ...failures].join('\n  '));
const total = (key) => suites.reduce((sum, suite) => sum + suite[key], 0);
console.log(`${total('passed')} passed, ${failures.length} failed, ${total('skipped')} skipped`);
const good = suites.every(({ ended, passed }) => ended && passed > 0) && failures.length === 0;
process.exit(good && checks.every(Boolean) ? 0 : 1);
