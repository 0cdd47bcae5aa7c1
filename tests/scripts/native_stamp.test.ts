// What is built already is not built again, and what is not is.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';

const inFolder = temporaryFolder();
const [addon, stamp] = ['emulsion.node', 'emulsion.stamp'].map((name) =>
  join(inFolder('build'), 'Release', name),
);

function node(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, EMULSION_BUILD_DIR: inFolder('build'), ...env },
  });
  return { status, stdout, stderr };
}

/** What the scripts say of an engine, by an expression of theirs. */
function say(expression: string, env?: NodeJS.ProcessEnv): string {
  const script = `
    import { fingerprint, markNativeCurrent, nativeIsCurrent } from './scripts/native_stamp.mjs';
    console.log(${expression});`;
  const { stdout, stderr } = node(['--input-type=module', '--eval', script], env);
  expect(stderr).toBe('');
  return stdout.trim();
}

beforeEach(() => {
  rmSync(inFolder('build'), { recursive: true, force: true });
  mkdirSync(join(inFolder('build'), 'Release'), { recursive: true });
  writeFileSync(addon, 'an engine');
  say('markNativeCurrent(fingerprint())');
});

test('an engine is current until its options or its sources change, or it is gone', () => {
  expect(say('nativeIsCurrent()')).toBe('true');
  expect(say('nativeIsCurrent()', { EMULSION_CPU_LEVELS: 'none' })).toBe('false');
  const mark = readFileSync(stamp, 'utf8');
  writeFileSync(
    stamp,
    mark.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
  );
  expect(say('nativeIsCurrent()')).toBe('false');
  writeFileSync(stamp, mark);
  expect(say('nativeIsCurrent()')).toBe('true');
  rmSync(addon);
  expect(say('nativeIsCurrent()')).toBe('false');
});

test('a second set-up says nothing and does nothing', () => {
  expect(node(['scripts/setup.mjs'])).toEqual({ status: 0, stdout: '', stderr: '' });
});
