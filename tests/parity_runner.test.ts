// The parity runner itself: that it fails where numbers differ, and that nothing is left out in silence.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readSafetensors, tensor, tidy, writeSafetensors } from '../lib/index.js';
import { golden, temporaryFolder } from './io/temporary.js';
import { adapters } from './parity/adapters/index.js';
import { runParity } from './parity/runner.js';
import { root } from './support/source_tree.js';

const inFolder = temporaryFolder();

/** A golden file with one tensor or word of its metadata changed, in a folder and under a name of its own. */
async function changed(
  from: string,
  to: string,
  change: { tensor?: (name: string) => boolean; metadata?: [string, string] },
): Promise<void> {
  const file = await readSafetensors(golden(from));
  const metadata = Object.fromEntries(file.metadata);
  for (const key of Object.keys(metadata))
    if (change.metadata) metadata[key] = metadata[key].replaceAll(...change.metadata);
  await tidy(async () => {
    const tensors = new Map(
      await Promise.all(file.keys.map(async (key) => [key, await file.get(key)] as const)),
    );
    const chosen = file.keys.find((key) => change.tensor?.(key));
    if (change.tensor) expect(chosen, 'a tensor to change').toBeDefined();
    if (chosen) {
      const x = tensors.get(chosen)!;
      const values = Float32Array.from((await x.data()) as Float32Array);
      values[0] += 0.01 * Math.max(...values.map(Math.abs));
      tensors.set(chosen, tensor(values, { shape: [...x.shape] }));
    }
    await writeSafetensors(to, tensors, metadata);
  });
}

async function report(path: string) {
  const lines: string[] = [];
  const counts = await runParity(path, { adapters, print: (line) => lines.push(line) });
  return { ...counts, lines };
}

describe('the runner', () => {
  beforeAll(() => mkdirSync(inFolder('other')));

  test('runs a file under any name and in any folder', async () => {
    cpSync(golden('ops/layer_norm.safetensors'), inFolder('other/renamed.safetensors'));
    const expected = await report(golden('ops/layer_norm.safetensors'));
    const found = await report(inFolder('other'));
    expect(found).toEqual({ ...expected, lines: [] });
    expect(found.passed).toBeGreaterThan(0);
  });

  test('finds the parameters of a loss where its metadata says', async () => {
    mkdirSync(inFolder('losses/elsewhere'), { recursive: true });
    const perceptual = inFolder('losses/elsewhere/distance.safetensors');
    cpSync(golden('modules/lpips.safetensors'), perceptual);
    const file = inFolder('losses/loss.safetensors');
    await changed('modules/lpips_with_discriminator.safetensors', file, {
      metadata: ['modules/lpips.safetensors', 'elsewhere/distance.safetensors'],
    });
    const { passed, failed, lines } = await report(file);
    expect([failed, lines]).toEqual([0, []]);
    expect(passed).toBeGreaterThan(0);
  });

  test.each(['out.', 'grad.'])('one wrong number of %s fails its case by name', async (part) => {
    const file = inFolder(`wrong_${part}safetensors`);
    await changed('ops/layer_norm.safetensors', file, { tensor: (name) => name.includes(part) });
    const { failed, lines } = await report(file);
    expect(failed).toBe(1);
    expect(lines[0]).toMatch(new RegExp(`^FAIL wrong_.*: ${part.replace('.', '\\.')}`));
  });

  test('names what it skips', async () => {
    const file = inFolder('unknown.safetensors');
    await changed('ops/layer_norm.safetensors', file, { metadata: ['layer_norm', 'player_norm'] });
    const unknown = await report(file);
    expect(unknown.passed).toBe(0);
    expect(unknown.skipped).toBeGreaterThan(0);
    expect(unknown.lines.every((line) => /^skip unknown.*player_norm/.test(line))).toBe(true);
    writeFileSync(inFolder('noise.safetensors'), 'no tensors at all');
    const noise = await report(inFolder('noise.safetensors'));
    expect([noise.passed, noise.skipped]).toEqual([0, 1]);
    expect(noise.lines[0]).toMatch(/noise\.safetensors/);
  });

  test('closes with a line of counts and an exit code', async () => {
    await changed('ops/layer_norm.safetensors', inFolder('wrong.safetensors'), {
      tensor: (name) => name.includes('out.'),
    });
    const run = (path: string) => {
      const program = join(root, 'tests/parity/run.ts');
      const args = ['--import', './scripts/typescript.mjs', program, path, '--device', 'cpu'];
      return spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
    };
    const good = run(golden('ops/layer_norm.safetensors'));
    expect(good.stdout.trim().split('\n').at(-1)).toMatch(/^\d+ passed, 0 failed, 0 skipped$/);
    expect(good.status).toBe(0);
    const bad = run(inFolder('wrong.safetensors'));
    expect(bad.stdout.trim().split('\n').at(-1)).toMatch(/^\d+ passed, 1 failed, 0 skipped$/);
    expect(bad.status).toBe(1);
  });
});
