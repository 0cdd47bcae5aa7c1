// Builds the native addon into build/Release/emulsion.node: through cmake-js, or with node-gyp (the CPU
// engine alone) where CMake is missing. Incremental: a second run compiles only what changed.
//   EMULSION_CPU_LEVELS=avx512       one instruction-set level alone, for a quick edit loop
//   EMULSION_SANITIZE=address,undefined, EMULSION_BUILD_DIR=build-asan
//   EMULSION_CUDA=AUTO|ON|OFF, EMULSION_CUDA_ARCHITECTURES="80;90a"
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import {
  addonFile,
  buildFolder,
  buildOptions,
  fingerprint,
  markNativeCurrent,
} from './native_stamp.mjs';
import { hasCMake } from './prerequisites.mjs';

const jobs = String(availableParallelism());

function withCMake() {
  const cmakeJs = (command, ...args) =>
    spawnSync('npx', ['--no-install', 'cmake-js', command, '--out', buildFolder(), ...args], {
      stdio: 'inherit',
    });
  // Options may have changed since the folder was configured; doing it again takes a second.
  const definitions = Object.entries(buildOptions()).map(([name, value]) => `--CD${name}=${value}`);
  const configured = cmakeJs('configure', ...definitions);
  return configured.status === 0 ? cmakeJs('build', '--parallel', jobs) : configured;
}

// npm carries node-gyp and names it to its scripts.
function withNodeGyp() {
  console.log('CMake is missing: building the CPU engine with node-gyp.');
  const args = ['rebuild', '--jobs', jobs];
  // Node's own headers, where the installation has them: then nothing is downloaded.
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, 'include/node/common.gypi'))) args.push(`--nodedir=${prefix}`);
  const gyp = process.env.npm_config_node_gyp;
  if (!gyp) {
    console.error('node-gyp comes with npm: run `npm run build:native`, or install CMake.');
    return { status: 1 };
  }
  return spawnSync(process.execPath, [gyp, ...args], { stdio: 'inherit' });
}

const building = fingerprint();
const result = hasCMake() ? withCMake() : withNodeGyp();
if (result.status !== 0) {
  console.error(`${addonFile()} was not built; the compiler's messages are above.`);
  process.exit(result.status ?? 1);
}
markNativeCurrent(building);
