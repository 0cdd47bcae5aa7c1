// The command `emulsion` as a process of its own.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { root } from '../support/source_tree.js';

export interface Ended {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs the command to its end.
 * @param interruption a signal to send when a file exists
 */
export function emulsion(
  args: readonly string[],
  interruption?: { signal: NodeJS.Signals; at: string },
): Promise<Ended> {
  const command = ['--import', './scripts/typescript.mjs', 'lib/cli/main.ts'];
  const child = spawn(process.execPath, [...command, ...args], { cwd: root });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (text: Buffer) => (said[stream] += text.toString()));
  const watch = setInterval(() => {
    if (!interruption || !existsSync(interruption.at)) return;
    // Twice, as npx passes signals on.
    for (let i = 0; i < 2; ++i) child.kill(interruption.signal);
    clearInterval(watch);
  }, 5);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearInterval(watch);
      resolve({ status, signal, ...said });
    });
  });
}
