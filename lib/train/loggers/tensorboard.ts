// Scalars, pictures and texts for TensorBoard: `tensorboard --logdir RUN/tensorboard`.
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileError } from '../../io/file_error.js';
import { pictureEvent, restartEvent, scalarsEvent, textEvent, versionEvent } from './event_file.js';
import type { Logger, RunStart } from './logger.js';

/** Writes an event file of its own for every start of the training, into one folder. */
export class TensorBoardLogger implements Logger {
  private path = '';
  private file: number | null = null;

  /** @param folder made if it is missing, usually `RUN/tensorboard` */
  constructor(readonly folder: string) {}

  async start({ step }: RunStart): Promise<void> {
    const name = `events.out.tfevents.${Date.now()}.${hostname()}.${process.pid}`;
    this.path = join(this.folder, name);
    try {
      await mkdir(this.folder, { recursive: true });
      this.file = openSync(this.path, 'ax');
    } catch (error) {
      throw fileError(this.path, 'cannot be written', error);
    }
    this.append(versionEvent(now()));
    // Steps count finished ones: what this run tells begins with the next.
    this.append(restartEvent(now(), step + 1));
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.append(scalarsEvent(now(), step, values));
  }

  async pictures(step: number, files: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, path] of Object.entries(files))
      this.append(pictureEvent(now(), step, name, await readFile(path)));
  }

  text(step: number, message: string): void {
    this.append(textEvent(now(), step, 'text', message));
  }

  close(): void {
    if (this.file !== null) closeSync(this.file);
    this.file = null;
  }

  private append(event: Uint8Array): void {
    if (this.file === null) return;
    try {
      writeSync(this.file, event);
    } catch (error) {
      throw fileError(this.path, 'cannot be written', error);
    }
  }
}

const now = (): number => Date.now() / 1000;
