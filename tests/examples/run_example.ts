// A program of examples/ as a process of its own.
import { spawn } from 'node:child_process';
import { root } from '../support/source_tree.js';

/**
 * Runs a program to its end.
 *
 * @param name its file without extension
 * @returns all that it printed
 * @throws Error with what it printed when it fails
 */
export function runExample(name: string, ...args: string[]): Promise<string> {
  const script = ['--import', './scripts/typescript.mjs', `examples/${name}.ts`];
  const child = spawn(process.execPath, [...script, ...args], { cwd: root });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said += text.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      if (status === 0) resolve(said);
      else reject(new Error(said));
    });
  });
}
