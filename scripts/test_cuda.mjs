// npm run test:cuda: everything that proves the CUDA engine, on a real GPU: every op case, faults, golden
// parity, a training trajectory, and the quick demo. Without a GPU it says so and fails.
//   -- --sanitize   also the op cases under compute-sanitizer (memcheck, racecheck, initcheck), slowly
//   -- --device cuda:1
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
const option = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const device = option('--device') ?? 'cuda:0';
const typescript = ['--import', './scripts/typescript.mjs'];
const golden = ['ops', 'modules', 'diffusion', 'train'].map((each) => join('tests/golden', each));

const results = [];
function run(what, command, args) {
  console.log(`\n== ${what}`);
  const start = Date.now();
  const { status } = spawnSync(command, args, {
    stdio: 'inherit',
    env: { ...process.env, EMULSION_TEST_DEVICES: device },
  });
  results.push({ what, passed: status === 0, seconds: (Date.now() - start) / 1000 });
  return status === 0;
}
const vitest = (...args) => ['node_modules/vitest/vitest.mjs', 'run', ...args];
const named = device.replace(':', '.');

if (!run('a GPU', process.execPath, [...typescript, 'tests/support/require_device.ts', device]))
  process.exit(1);
run('op cases', process.execPath, vitest('tests/ops.test.ts', '-t', named));
run(
  'faults, optimizers, random numbers, captured steps',
  process.execPath,
  vitest(
    ...['tests/device_faults.test.ts', 'tests/optim', 'tests/core/random.test.ts'],
    ...['tests/core/capture.test.ts', 'tests/core/capture_memory.test.ts'],
    ...['tests/train/recorded_losses.test.ts', 'tests/device_sampling.test.ts'],
  ),
);
run('golden parity and training trajectory', process.execPath, [
  ...typescript,
  'tests/parity/run.ts',
  '--device',
  device,
  ...golden,
]);
run('quick demo', process.execPath, [
  ...typescript,
  'examples/demo/main.ts',
  '--quick',
  '--out',
  mkdtempSync(join(tmpdir(), 'emulsion-demo-')),
]);
if (process.argv.includes('--sanitize')) {
  for (const tool of ['memcheck', 'racecheck', 'initcheck']) {
    const program = ['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'].find(
      (each) => !each.startsWith('/') || existsSync(each),
    );
    run(`op cases under ${tool}`, program, [
      '--tool',
      tool,
      '--error-exitcode',
      '9',
      '--target-processes',
      'all',
      process.execPath,
      ...vitest('tests/ops.test.ts', '-t', `float32, ${named}`),
    ]);
  }
}

console.log('');
for (const { what, passed, seconds } of results)
  console.log(`${passed ? 'passed' : 'FAILED'}  ${what} (${seconds.toFixed(0)} s)`);
const failed = results.filter(({ passed }) => !passed).length;
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
