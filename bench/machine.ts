// What this machine can do, measured: the roofs that the benchmarks are held against.
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { empty, engineInfo, tidy, type Tensor } from '../lib/index.js';
import { native, type Id } from '../lib/native.js';

const kernels = native<{
  measure_flops(seconds: number, y: Id): void;
  measure_bandwidth(bytes: number, repeats: number, y: Id): void;
}>('measure_flops', 'measure_bandwidth');

export interface Machine {
  processor: string;
  threads: number;
  level: string;
  node: string;
  commit: string;
  date: string;
  /** Fused multiply-adds of all threads, float32: operations per second. */
  peakFlops: number;
  /** Copy of 256 MiB: bytes read and written per second. */
  bandwidth: number;
}

/** Operations per second, the best of rounds of a third of a millisecond. */
export const measurePeakFlops = (seconds: number): Promise<number> =>
  measured((y) => kernels.measure_flops(seconds, y.id));

/** Bytes per second, the best of `repeats` copies of 256 MiB. */
export const measureBandwidth = (repeats: number): Promise<number> =>
  measured((y) => kernels.measure_bandwidth(256 * 2 ** 20, repeats, y.id));

export async function measureMachine(): Promise<Machine> {
  // A roof is what was reached at best: a moment's work of somebody else must not lower it.
  const most = async (measure: () => Promise<number>): Promise<number> => {
    let best = 0;
    for (let i = 0; i < 5; ++i) best = Math.max(best, await measure());
    return best;
  };
  const { threads, level } = engineInfo();
  return {
    processor: cpus()[0].model.trim(),
    threads,
    level,
    node: process.version,
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
    peakFlops: await most(() => measurePeakFlops(0.5)),
    bandwidth: await most(() => measureBandwidth(4)),
  };
}

function measured(run: (y: Tensor) => void): Promise<number> {
  return tidy(() => {
    const y = empty([1], { dtype: 'float64', device: 'cpu' });
    run(y);
    return y.item();
  });
}

function commit(): string {
  try {
    const changed = git('status', '--porcelain') !== '';
    return git('rev-parse', '--short', 'HEAD') + (changed ? ' with local changes' : '');
  } catch {
    return 'unknown'; // a tarball without history
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
}
