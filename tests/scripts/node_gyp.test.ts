// binding.gyp, for machines without CMake, builds the same engine: in a folder of its own, without
// optimisation, which is what takes the time.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'emulsion-gyp-'));
afterAll(() => rmSync(folder, { recursive: true }));

const run = (args: string[], options: { cwd: string; env: NodeJS.ProcessEnv }) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    ...options,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return { status, said: stdout + stderr, stdout };
};

// npm carries node-gyp, and names it to what it runs.
const nodeGyp = process.env.npm_config_node_gyp;

test(
  'node-gyp builds an addon with the same kernels, and it computes',
  { timeout: 900_000 },
  () => {
    if (!nodeGyp) throw new Error('run this test through npm or npx: they name node-gyp');
    for (const name of ['native', 'node_modules'])
      symlinkSync(join(root, name), join(folder, name));
    for (const name of ['binding.gyp', 'package.json'])
      cpSync(join(root, name), join(folder, name));
    // Node's own headers, so that nothing is downloaded.
    const prefix = dirname(dirname(process.execPath));
    const headers = existsSync(join(prefix, 'include/node/common.gypi'))
      ? [`--nodedir=${prefix}`]
      : [];
    const built = run([nodeGyp, 'rebuild', '--jobs', String(availableParallelism()), ...headers], {
      cwd: folder,
      env: { ...process.env, CXXFLAGS: '-O0' },
    });
    expect(built.status, built.said.slice(-4000)).toBe(0);

    const addon = join(folder, 'build/Release/emulsion.node');
    const require = createRequire(import.meta.url);
    const names = (file: string) => Object.keys(require(file) as object).sort();
    const usual = process.env.EMULSION_ADDON ?? join(root, 'build/Release/emulsion.node');
    expect(names(addon)).toEqual(names(usual));

    const program = `
    const { conv2d, tensor } = await import('./lib/index.ts');
    const x = tensor(Float32Array.from({ length: 50 }, (_, i) => i), { shape: [1, 5, 5, 2] });
    const w = tensor(new Float32Array(3 * 9 * 2).fill(1), { shape: [3, 3, 3, 2] });
    console.log(JSON.stringify([...(await conv2d(x, w).sum().data())]));`;
    const computed = run(
      ['--import', './scripts/typescript.mjs', '--input-type=module', '--eval', program],
      { cwd: root, env: { ...process.env, EMULSION_ADDON: addon } },
    );
    // Nine windows, three filters: 3 · Σ over windows of the sum of 18 neighbours, whose mean is 24.5.
    expect(computed.stdout, computed.said).toBe(`[${3 * 9 * 18 * 24.5}]\n`);
  },
);
