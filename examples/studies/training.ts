// Trainings of the studies: the library's trainer in a folder of its own, gone on with after an interruption.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  LambdaWarmUpCosineScheduler,
  openRunFolder,
  ProgressLogger,
  readMetrics,
  Trainer,
  type DataSource,
  type Logger,
  type Metrics,
  type Schedule,
  type TrainingTask,
} from '../../lib/index.js';

export interface StudyTraining<Batch> {
  /** Of the training among those of its study. */
  readonly name: string;
  /** Of the study; the run lies in `runs/` in it. */
  readonly folder: string;
  readonly task: TrainingTask<Batch>;
  readonly data: DataSource<Batch>;
  readonly steps: number;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/** A twentieth of the steps to warm up, then a cosine down to a fiftieth. */
export function risingAndFalling(steps: number): Schedule {
  return new LambdaWarmUpCosineScheduler({
    warm_up_steps: Math.ceil(steps / 20),
    lr_start: 0.01,
    lr_max: 1,
    lr_min: 0.02,
    max_decay_steps: steps,
  });
}

/** Trains to the end, or throws the signal's reason when it aborts; what was done until then is kept. */
export async function runTraining<Batch>(training: StudyTraining<Batch>): Promise<void> {
  const { name, folder, task, data, steps, seed, signal } = training;
  const path = join(folder, 'runs', name);
  const trainer = new Trainer(task, data, {
    folder: await openRunFolder(path, { resume: existsSync(join(path, 'checkpoints')) }),
    steps,
    seed,
    picturesEvery: 0,
    keepLast: 1,
    secondsBetweenSaves: 60,
    loggers: [named(new ProgressLogger(), name)],
  });
  const { finished } = await trainer.run({ signal });
  if (!finished) signal.throwIfAborted();
}

/** What a training measured: curves by name, in at most 400 spans each. */
export function measurements(folder: string, name: string): Promise<Metrics> {
  return readMetrics(join(folder, 'runs', name, 'metrics.jsonl'));
}

// Every training of a study may be of the same task; what tells them apart is the study's name for them.
function named(logger: ProgressLogger, name: string): Logger {
  const start = logger.start.bind(logger);
  logger.start = (run) => start({ ...run, name });
  return logger;
}
