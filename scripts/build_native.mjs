// Builds the native addon through cmake-js into build/Release/emulsion.node. Incremental: a second run
// compiles only what changed. EMULSION_CPU_LEVELS=avx512 builds one level alone, for a quick edit loop.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

const definitions = Object.entries({
  EMULSION_CUDA: process.env.EMULSION_CUDA ?? 'AUTO',
  EMULSION_CPU_LEVELS: process.env.EMULSION_CPU_LEVELS ?? '',
  EMULSION_SANITIZE: process.env.EMULSION_SANITIZE ?? '',
}).map(([name, value]) => `--CD${name}=${value}`);

const out = process.env.EMULSION_BUILD_DIR ?? 'build';
const args = [
  'cmake-js',
  'compile',
  '--out',
  out,
  '--parallel',
  String(availableParallelism()),
  ...definitions,
];
const result = spawnSync('npx', ['--no-install', ...args], { stdio: 'inherit' });
process.exit(result.status ?? 1);
