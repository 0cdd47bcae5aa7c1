// Finds a Python with PyTorch: a virtual environment of ours with the release the comparison names, else the
// system's own.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const wanted = 'torch==2.13.0';
const folder = '.cache/pytorch';
const ours = join(folder, 'bin', 'python');

/** @param given a Python to use instead. */
export function findPytorch(given?: string): string {
  if (given) {
    if (hasTorch(given)) return given;
    throw new Error(`bench:versus: ${given} cannot import torch; give a Python that can`);
  }
  if (existsSync(ours) && hasTorch(ours)) return ours;
  console.log(`installing ${wanted} into ${folder} ...`);
  const install = () =>
    runs('python3', '-m', 'venv', folder) &&
    runs(ours, '-m', 'pip', 'install', '--quiet', wanted, 'numpy');
  if (install() && hasTorch(ours)) return ours;
  if (hasTorch('python3')) return 'python3';
  throw new Error(
    `bench:versus: no PyTorch here. Neither could ${wanted} be installed into ${folder} ` +
      '(needs python3 with venv, and a network) nor does the system have one (Debian: apt-get install python3-torch).',
  );
}

const runs = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
const hasTorch = (python: string): boolean =>
  spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0;
