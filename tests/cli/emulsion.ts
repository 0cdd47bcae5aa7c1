// The command `emulsion` as a process of its own.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { root } from '../support/source_tree.js';

export interface Ended {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs the command to its end.
 * @param interruption a signal to get as soon as a file is written
 */
export function emulsion(
  args: readonly string[],
  interruption?: { signal: NodeJS.Signals; at: string },
): Promise<Ended> {
  const command = ['--import', './scripts/typescript.mjs'];
  const env = { ...process.env };
  if (interruption) {
    command.push('--import', './tests/cli/interrupt.mjs');
    env.EMULSION_TEST_SIGNAL = interruption.signal;
    env.EMULSION_TEST_FILE = resolve(interruption.at);
  }
  const child = spawn(process.execPath, [...command, 'lib/cli/main.ts', ...args], {
    cwd: root,
    env,
  });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (text: Buffer) => (said[stream] += text.toString()));
  return new Promise((fulfil, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => fulfil({ status, signal, ...said }));
  });
}
