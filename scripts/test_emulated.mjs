// npm run test:emulated: the CUDA engine's kernels, compiled for the host and run in the emulator of
// tests/emulator, against the same cases as every device. Linux with GCC; no GPU, no CUDA compiler.
// Arguments go to vitest: `npm run test:emulated -- -t "^softmax.*emulated"`.
//   EMULSION_EMULATOR_SEED=n          another order of threads
//   EMULSION_EMULATOR_CAPABILITY=90   a Hopper, with its kernels and its shared memory
//   EMULSION_EMULATOR_LINT=1          names ldmatrix accesses that meet in one bank
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildFolder, buildOptions } from './native_stamp.mjs';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
if (process.platform !== 'linux') {
  console.error(
    'test:emulated needs Linux: the emulator reads its memory map and its debug lines.',
  );
  process.exit(1);
}

const run = (command, args, env = {}) =>
  spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status;
const folder = buildFolder();

// The folder must know how Node builds addons: cmake-js configures it, as build_native.mjs does.
if (!existsSync(join(folder, 'CMakeCache.txt'))) {
  const options = Object.entries(buildOptions()).map(([name, value]) => `--CD${name}=${value}`);
  const cmakeJs = ['--no-install', 'cmake-js', 'configure', '--out', folder, ...options];
  if (run('npx', cmakeJs) !== 0) process.exit(1);
}
const targets = ['emulsion_emulated', 'emulator_faults'];
const jobs = String(availableParallelism());
if (run('cmake', ['--build', folder, '--parallel', jobs, '--target', ...targets]) !== 0) {
  console.error('The emulator was not built; the messages of the compiler are above.');
  process.exit(1);
}

const given = process.argv.slice(2);
const files = given.some((each) => each.endsWith('.ts'))
  ? []
  : [
      'tests/ops.test.ts',
      'tests/emulator',
      'tests/parity.test.ts',
      'tests/device_faults.test.ts',
      'tests/device_training.test.ts',
      'tests/device_sampling.test.ts',
      'tests/core/capture.test.ts',
      'tests/core/capture_memory.test.ts',
      'tests/train/recorded_losses.test.ts',
      'tests/optim/devices.test.ts',
      'tests/core/random.test.ts',
      'tests/metrics',
      'tests/eval/devices.test.ts',
    ];
const selection = given.includes('-t') ? [] : ['-t', 'emulated'];
const start = Date.now();
const status = run(
  'npx',
  ['--no-install', 'vitest', 'run', '--project', 'tests', ...files, ...selection, ...given],
  {
    EMULSION_ADDON: resolve(folder, 'Release/emulsion_emulated.node'),
    EMULSION_TEST_DEVICES: 'emulated',
  },
);
console.log(
  `test:emulated: ${status === 0 ? 'clean' : 'FAILED'} after ${((Date.now() - start) / 60_000).toFixed(1)} minutes`,
);
process.exit(status ?? 1);
