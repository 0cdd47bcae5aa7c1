// What setup says on a machine that lacks its tools: a PATH of nothing but the programs named here.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const root = mkdtempSync(join(tmpdir(), 'emulsion-path-'));
afterAll(() => rmSync(root, { recursive: true }));

// Programs as scripts of the shell, which answer whatever they are asked.
function check(programs: Record<string, string>, needs = { native: true, install: true }) {
  const path = mkdtempSync(join(root, 'bin-'));
  for (const [name, says] of Object.entries(programs)) {
    writeFileSync(join(path, name), `#!/bin/sh\n${says}\n`);
    chmodSync(join(path, name), 0o755);
  }
  const script = `
    import { checkPrerequisites } from './scripts/prerequisites.mjs';
    checkPrerequisites(${JSON.stringify(needs)});
    console.log('all there');`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', script],
    { encoding: 'utf8', env: { PATH: path } },
  );
  return { status, stdout, stderr };
}

const works = 'exit 0';
const tools = { npm: works, 'g++': works, make: works, cmake: 'echo cmake version 3.25.1' };
const without = (...names: string[]) =>
  Object.fromEntries(Object.entries(tools).filter(([name]) => !names.includes(name)));

describe('checkPrerequisites', () => {
  it('lets a complete machine go on', () => {
    expect(check(tools)).toEqual({ status: 0, stdout: 'all there\n', stderr: '' });
  });

  it('names everything that is missing at once, and the command that installs it', () => {
    const { status, stdout, stderr } = check({ 'apt-get': works });
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/npm, which comes with Node: https:/);
    expect(stderr).toMatch(/C\+\+20 compiler \(GCC 11, Clang 14 or newer\)/);
    expect(stderr).toMatch(/make \(or ninja\)/);
    expect(stderr).toMatch(/CMake 3.20 or newer/);
    expect(stderr).toMatch(/sudo apt-get update && sudo apt-get install -y g\+\+ make cmake\n$/);
  });

  it.each([
    ['dnf', /sudo dnf install -y gcc-c\+\+\n$/],
    ['pacman', /sudo pacman -S --needed gcc\n$/],
    ['apk', /sudo apk add g\+\+ linux-headers\n$/],
    ['brew', /brew install llvm\n$/],
  ])('speaks the language of %s', (manager, command) => {
    expect(check({ ...without('g++'), [manager]: works }).stderr).toMatch(command);
  });

  it('names what is missing where no package manager is known', () => {
    const { status, stderr } = check(without('make'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/make \(or ninja\)\n$/);
  });

  it('refuses a compiler without C++20 and a CMake that is too old', () => {
    const old = { ...tools, 'g++': 'exit 1', cmake: 'echo cmake version 3.16.3' };
    const { status, stderr } = check(old);
    expect(status).toBe(1);
    expect(stderr).toMatch(/C\+\+20 compiler/);
    expect(stderr).toMatch(/CMake 3.20/);
  });

  it('takes ninja for make, and Python (for node-gyp) for CMake', () => {
    const others = { ...without('make', 'cmake'), ninja: works, python3: works };
    expect(check(others).status).toBe(0);
  });

  it('asks for no tool that is not needed', () => {
    expect(check({}, { native: false, install: false }).status).toBe(0);
    expect(check({}, { native: false, install: true }).stderr).not.toMatch(/compiler/);
  });
});
