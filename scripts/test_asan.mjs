// npm run test:asan: the test suite on an engine built with AddressSanitizer and
// UndefinedBehaviorSanitizer, in a folder of its own. Linux with GCC. Arguments go to vitest.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
if (process.platform !== 'linux') {
  console.error('test:asan needs Linux: it preloads the sanitizer into Node.');
  process.exit(1);
}

// One level is enough, the widest that runs here; compiling all of them triples the wait.
const has = (flag) => readFileSync('/proc/cpuinfo', 'utf8').includes(` ${flag} `);
const level = has('avx512vl') ? 'avx512' : has('avx2') ? 'avx2' : '';
const folder = 'build-asan';
const build = {
  ...process.env,
  EMULSION_BUILD_DIR: folder,
  EMULSION_SANITIZE: 'address,undefined',
  EMULSION_CPU_LEVELS: process.env.EMULSION_CPU_LEVELS ?? level,
};
const { status } = spawnSync(process.execPath, ['scripts/setup.mjs'], {
  stdio: 'inherit',
  env: build,
});
if (status !== 0) process.exit(1);

// The sanitizer must be the first library of the process, which is Node itself. The C++ runtime comes
// with it, or the sanitizer would not find the function that throws.
const library = (name) =>
  execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
const libraries = ['libasan.so', 'libubsan.so', 'libstdc++.so.6'].map(library).filter(existsSync);

// Speed and resident memory mean nothing here, and an engine that a test builds has no sanitizer. Leaks are
// V8's: they are looked for by other tests.
const skipped = ['event_loop', 'memory', 'io/streaming', 'scripts/node_gyp'].map(
  (name) => `--exclude=tests/${name}.test.ts`,
);
const start = Date.now();
const tests = spawnSync(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--testTimeout=600000',
    ...skipped,
    ...process.argv.slice(2),
  ],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      EMULSION_ADDON: resolve(folder, 'Release/emulsion.node'),
      LD_PRELOAD: libraries.join(':'),
      ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    },
  },
);
const minutes = ((Date.now() - start) / 60_000).toFixed(1);
console.log(`test:asan: ${tests.status === 0 ? 'clean' : 'FAILED'} after ${minutes} minutes`);
process.exit(tests.status ?? 1);
