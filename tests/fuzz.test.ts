// Wrong calls, by the thousand: a typed error with a message or a result, never a crash.
// EMULSION_FUZZ_SEED and EMULSION_FUZZ_RUNS repeat a run or widen it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { engineInfo } from '../lib/index.js';
import { root } from './support/source_tree.js';

const seed = process.env.EMULSION_FUZZ_SEED ?? '20220413';

function fuzz(mode: 'native' | 'ops', runs: string) {
  const folder = mkdtempSync(join(tmpdir(), 'emulsion-fuzz-'));
  const log = join(folder, 'call');
  const program = join(root, 'tests/support/fuzz_calls.ts');
  const args = [
    '--import',
    './scripts/typescript.mjs',
    program,
    mode,
    seed,
    process.env.EMULSION_FUZZ_RUNS ?? runs,
    log,
  ];
  try {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: root,
      encoding: 'utf8',
      timeout: 150_000,
    });
    const last = () => readFileSync(log, 'utf8').trim();
    if (status !== 0)
      throw new Error(
        `seed ${seed}: ended with ${signal ?? `status ${status}`} at ${last()}\n${stderr.slice(-4000)}`,
      );
    const counts = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>;
    console.log(`fuzz ${mode}, seed ${seed}:`, counts);
    return counts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('junk into every native function', () => {
  const { functions, refused } = fuzz('native', '60');
  expect(functions).toBeGreaterThanOrEqual(engineInfo().kernels.length);
  expect(refused).toBeGreaterThan(1000);
});

test('random tensors into every op', () => {
  const { calls, refused } = fuzz('ops', '15');
  expect(refused).toBeGreaterThan(100);
  expect(calls - refused).toBeGreaterThan(100);
});
