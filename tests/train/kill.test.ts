// Training that survives: killed at any moment and started again, it ends with the very bytes of a run that
// nobody disturbed.
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../support/source_tree.js';

const steps = 160;
// At moments that a clock decides, and within saves.
const kills = { anywhere: 38, saving: 12 };
const temporary = mkdtempSync(join(tmpdir(), 'emulsion-kill-'));
// Below the package, where the native engine is found; in one file, so that a process starts fast.
const program = join(root, '.cache', `tiny_child-${process.pid}.mjs`);
const reference = join(temporary, 'reference');

/** A process that has loaded everything, or soon will have, and waits for the word. */
const standby = (folder: string): ChildProcess =>
  fork(program, [folder, String(steps)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });

const ended = (child: ChildProcess): Promise<number | NodeJS.Signals> =>
  new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? code!));
  });

async function trainToEnd(folder: string): Promise<void> {
  const child = standby(folder);
  child.send(0);
  expect(await ended(child)).toBe(0);
}

// Uniform in [0, 1), the same for every run of the test (mulberry32).
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Lets the process train and kills it after so many milliseconds, counted from its start or first step. */
async function kill(child: ChildProcess, after: number, from: 'start' | 'first step') {
  const end = ended(child);
  const strike = () => setTimeout(() => child.kill('SIGKILL'), after);
  if (from === 'first step') child.once('message', strike);
  child.send(0, () => void (from === 'start' && strike()));
  return end;
}

const state = (folder: string): Buffer =>
  readFileSync(join(folder, 'checkpoints', `step-${String(steps).padStart(8, '0')}.safetensors`));

/** What was measured at every step, without what a clock says. */
const measured = (folder: string): Record<string, unknown>[] =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => !('text' in line))
    .map(({ seconds: _, images_per_second: __, ...rest }) => rest);

function expectTheSame(folder: string): void {
  expect(state(folder).equals(state(reference))).toBe(true);
  expect(measured(folder)).toEqual(measured(reference));
  expect(readdirSync(join(folder, 'checkpoints')).sort()).toEqual([
    `step-00000${steps - 4}.safetensors`,
    `step-00000${steps}.safetensors`,
  ]);
}

beforeAll(async () => {
  mkdirSync(join(root, '.cache'), { recursive: true });
  await build({
    entryPoints: [join(root, 'tests/train/tiny_child.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    outfile: program,
  });
  await trainToEnd(reference);
}, 180_000);
afterAll(() => {
  rmSync(program, { force: true });
  rmSync(temporary, { recursive: true });
});

describe('a training', () => {
  it(`ends the same after ${kills.anywhere} kills at random moments`, async () => {
    const draw = uniform(2024);
    const folder = (run: number): string => join(temporary, `run-${run}`);
    let run = 0;
    let next = standby(folder(run));
    for (let killed = 0; killed < kills.anywhere;) {
      const child = next;
      const exit = kill(child, 80 * draw(), draw() < 0.2 ? 'start' : 'first step');
      next = standby(folder(run));
      if ((await exit) === 'SIGKILL') {
        ++killed;
        continue;
      }
      // It came to its end before the blow.
      expectTheSame(folder(run));
      next.kill('SIGKILL');
      next = standby(folder(++run));
    }
    next.send(0);
    expect(await ended(next)).toBe(0);
    expectTheSame(folder(run));
  });

  it(`ends the same after ${kills.saving} kills within saves`, async () => {
    const draw = uniform(2025);
    const folder = join(temporary, 'saving');
    let next = standby(folder);
    for (let killed = 0; killed < kills.saving; ++killed) {
      const child = next;
      child.send(2 + Math.floor(150 * draw()));
      next = standby(folder);
      expect(await ended(child)).toBe('SIGKILL');
      const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
      expect(files.filter((name) => name.endsWith('.tmp'))).toHaveLength(1);
    }
    next.send(0);
    expect(await ended(next)).toBe(0);
    expectTheSame(folder);
  });

  it('saves and ends by itself on an interrupt, and goes on from there', async () => {
    const folder = join(temporary, 'interrupted');
    const child = standby(folder);
    child.send(-10);
    expect(await ended(child)).toBe(3);
    const [last] = readdirSync(join(folder, 'checkpoints')).sort().reverse();
    const saved = Number(/\d+/.exec(last)![0]);
    expect(saved).toBeGreaterThanOrEqual(10);
    expect(saved).toBeLessThan(steps);
    expect(measured(folder).length).toBe(saved);
    await trainToEnd(folder);
    expectTheSame(folder);
  });
});
