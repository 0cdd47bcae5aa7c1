// Names what the machine lacks, with the command that installs it, before anything starts.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Install commands per package manager. The first manager found on the machine speaks. */
const managers = [
  {
    name: 'apt-get',
    packages: { compiler: 'g++', cmake: 'cmake', make: 'make', python: 'python3' },
    command: (packages) => `sudo apt-get update && sudo apt-get install -y ${packages}`,
  },
  {
    name: 'dnf',
    packages: { compiler: 'gcc-c++', cmake: 'cmake', make: 'make', python: 'python3' },
    command: (packages) => `sudo dnf install -y ${packages}`,
  },
  {
    name: 'pacman',
    packages: { compiler: 'gcc', cmake: 'cmake', make: 'make', python: 'python' },
    command: (packages) => `sudo pacman -S --needed ${packages}`,
  },
  {
    name: 'apk',
    packages: { compiler: 'g++', cmake: 'cmake', make: 'make', python: 'python3' },
    command: (packages) => `sudo apk add ${packages} linux-headers`,
  },
  {
    name: 'brew',
    packages: { compiler: 'llvm', cmake: 'cmake', make: 'make', python: 'python' },
    command: (packages) => `brew install ${packages}`,
  },
];

const run = (command, args, input) => spawnSync(command, args, { input, encoding: 'utf8' });
const runs = (command, ...args) => run(command, args).status === 0;

/** The first C++ compiler that takes C++20, as CMake and make look for it. */
function findCompiler() {
  const candidates = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
  const program = '#include <concepts>\n#include <span>\nint main() {}\n';
  return candidates.find(
    (each) => run(each, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], program).status === 0,
  );
}

export const hasCMake = () => {
  const version = /version (\d+)\.(\d+)/.exec(run('cmake', ['--version']).stdout ?? '');
  return version !== null && (Number(version[1]) > 3 || Number(version[2]) >= 20);
};

/**
 * Exits with a list of what is missing, if anything is.
 * @param {{native: boolean, install: boolean}} needs what is about to happen: a native build, an npm install.
 */
export function checkPrerequisites(needs) {
  const missing = [];
  const lack = (what, key) => missing.push({ what, key });

  const [major, minor] = process.versions.node.split('.').map(Number);
  // zlib.crc32 came with these.
  if (major < 20 || major === 21 || (major === 20 && minor < 15) || (major === 22 && minor < 2))
    lack(`Node 20.15, 22.2 or newer (this is ${process.version}): https://nodejs.org/en/download`);
  if (needs.install && !runs('npm', '--version'))
    lack('npm, which comes with Node: https://nodejs.org/en/download');
  if (needs.native) {
    if (!findCompiler()) lack('a C++20 compiler (GCC 11, Clang 14 or newer)', 'compiler');
    if (!runs('make', '--version') && !runs('ninja', '--version')) lack('make (or ninja)', 'make');
    // node-gyp builds the same sources where CMake is missing, and needs Python.
    if (!hasCMake() && !(runs('python3', '--version') && existsSync('binding.gyp')))
      lack('CMake 3.20 or newer', 'cmake');
  }
  if (missing.length === 0) return;

  console.error('emulsion cannot be built here yet. Missing:');
  for (const { what } of missing) console.error(`  - ${what}`);
  const manager = managers.find(({ name }) => runs(name, '--version'));
  const keys = missing.flatMap(({ key }) => (key ? [key] : []));
  if (manager && keys.length > 0)
    console.error(
      `Install with:\n  ${manager.command(keys.map((key) => manager.packages[key]).join(' '))}`,
    );
  process.exit(1);
}
