// Brings a checkout to the point where tests and programs run: npm packages and the native engine. Does
// nothing that is already done; a second run takes a moment.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeIsCurrent } from './native_stamp.mjs';
import { checkPrerequisites } from './prerequisites.mjs';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const needs = { install: !packagesAreCurrent(), native: !nativeIsCurrent() };
checkPrerequisites(needs);
if (needs.install) step('npm packages', 'npm', 'ci', '--no-audit', '--no-fund');
if (needs.native) step('native engine', process.execPath, 'scripts/build_native.mjs');

/** Whether every package of the lock file is installed in its version, by npm's own record. */
function packagesAreCurrent() {
  const installed = 'node_modules/.package-lock.json';
  if (!existsSync(installed)) return false;
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const want = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
  return Object.entries(want).every(
    ([path, { version, optional }]) =>
      path === '' || have[path]?.version === version || (optional && !have[path]),
  );
}

function step(what, command, ...args) {
  const start = Date.now();
  console.log(`setup: ${what} ...`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) {
    console.error(`setup: ${what} failed${error ? `: ${error.message}` : ''}`);
    process.exit(1);
  }
  console.log(`setup: ${what} ready after ${((Date.now() - start) / 1000).toFixed(0)} s`);
}
