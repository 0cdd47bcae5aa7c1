// Measurements as JSONL: one object a line, `step` and what was measured there. Lines stay whatever happens
// to the process; a resumed run takes back those that it will write again.
import { closeSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileError } from '../../io/file_error.js';
import { writeFileAtomic } from '../../io/index.js';
import type { Logger, RunStart } from './logger.js';

/** Appends to a file, which is made when the training starts. Values that are not finite become null. */
export class JsonlLogger implements Logger {
  private file: number | null = null;

  constructor(readonly path: string) {}

  async start({ step }: RunStart): Promise<void> {
    const lines = (await this.read()).split('\n');
    const kept = lines.filter((line) => stepOf(line) <= step);
    await writeFileAtomic(this.path, kept.map((line) => `${line}\n`).join(''));
    this.file = openSync(this.path, 'a');
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.append({ step, ...values });
  }

  text(step: number, message: string): void {
    this.append({ step, text: message });
  }

  close(): void {
    if (this.file !== null) closeSync(this.file);
    this.file = null;
  }

  private append(line: Record<string, number | string>): void {
    if (this.file === null) return;
    try {
      writeSync(this.file, `${JSON.stringify(line)}\n`);
    } catch (error) {
      throw fileError(this.path, 'cannot be written', error);
    }
  }

  private async read(): Promise<string> {
    try {
      return await readFile(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw fileError(this.path, 'cannot be read', error);
    }
  }
}

// Infinity for what is no measurement: a line torn by a kill.
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === 'number' ? step : Infinity;
  } catch {
    return Infinity;
  }
}
