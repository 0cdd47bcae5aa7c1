// Runs of the tiny task inside a test.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  openRunFolder,
  Trainer,
  type Logger,
  type TrainerOptions,
  type TrainingResult,
} from '../../lib/train/index.js';
import { TinyData, tinyTask, type TinyBatch, type TinyTask } from './tiny_task.js';

/** Keeps what it is told. */
export class Notes implements Logger {
  readonly steps: number[] = [];
  readonly numbers: { step: number; values: Readonly<Record<string, number>> }[] = [];
  readonly files: Record<string, string> = {};
  readonly texts: string[] = [];
  closed = 0;

  constructor(private readonly onStep: (step: number) => void = () => undefined) {}

  step({ step }: { step: number }): void {
    this.steps.push(step);
    this.onStep(step);
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.numbers.push({ step, values });
  }

  pictures(_: number, files: Readonly<Record<string, string>>): void {
    Object.assign(this.files, files);
  }

  text(_: number, message: string): void {
    this.texts.push(message);
  }

  close(): void {
    ++this.closed;
  }
}

export interface TinyRun extends Partial<Omit<TrainerOptions<TinyBatch>, 'folder'>> {
  steps: number;
  resume?: boolean;
  task?: TinyTask;
  data?: TinyData;
  signal?: AbortSignal;
}

/** Trains in a folder and frees the task, unless it was given. */
export async function train(
  path: string,
  { resume, task = tinyTask(), data = new TinyData([2, 1]), signal, ...options }: TinyRun,
): Promise<TrainingResult> {
  const folder = await openRunFolder(path, { resume });
  const trainer = new Trainer<TinyBatch>(task, data, { folder, accumulate: 2, ...options });
  return trainer.run({ signal });
}

/** Names of the states in a run's folder, oldest first. */
export const states = (path: string): string[] =>
  readdirSync(join(path, 'checkpoints'))
    .filter((name) => name !== 'best.json')
    .sort();

/** The bytes of the newest state. */
export const newest = (path: string): Buffer =>
  readFileSync(join(path, 'checkpoints', states(path).at(-1)!));
