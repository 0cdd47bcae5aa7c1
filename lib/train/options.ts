// How a training is run: the trainer's options, their defaults, and what they must satisfy.
import type { DataSource } from '../data/source.js';
import { ArgumentError, check } from '../errors.js';
import type { TrainingPrecision } from './cycle.js';
import type { Logger } from './loggers/logger.js';
import type { RunFolder } from './run_folder.js';

/** Everything is counted in steps, that is, optimizer cycles; 0 switches what happens "every so often" off. */
export interface TrainerOptions<Batch> {
  folder: RunFolder;
  /** Steps at the end of the training, those of earlier runs included. */
  steps: number;
  /** Of losses' random numbers and of dropout. Default 23. */
  seed?: number;
  /** Batches in a step. Default 1. */
  accumulate?: number;
  /** Of matrix work, see {@link autocast}. float16 scales losses. Default `'float32'`. */
  precision?: TrainingPrecision;
  /** Largest norm of a phase's gradients. Default null: they stay as they are. */
  clipNorm?: number | null;
  /**
   * Losses that can be recorded are, and replayed in all later steps, see {@link capture}: the same bits with less
   * JavaScript. Default true.
   */
  capture?: boolean;
  /** Steps in a row that may be left out because something is not finite. Default 10. */
  skipLimit?: number;
  /** A line tells the means of the steps since the last one, and of an epoch that ended among them. Default 10. */
  logEvery?: number;
  /** What validations go through. Default: none. */
  validation?: DataSource<Batch>;
  /** Default 1000. */
  validateEvery?: number;
  /** Of the last batch trained on, and of the first one of `validation`. Default 1000. */
  picturesEvery?: number;
  /** Default 1000. The end of a run is always saved. */
  saveEvery?: number;
  /** Saves earlier when so much time has passed. Default 600. */
  secondsBetweenSaves?: number;
  /** States that stay: the newest so many. Default 3. */
  keepLast?: number;
  /** States that stay for good: those of every so many steps. Default 0: none. */
  keepEvery?: number;
  /** A number of validations, such as `val/loss_simple_ema`: states in which it was lowest stay as well. */
  monitor?: string;
  /** How many of those. Default 3. */
  keepBest?: number;
  /** Beside `metrics.jsonl` in the folder, which is always written. */
  loggers?: readonly Logger[];
}

/** @internal */
export const defaults = {
  seed: 23,
  accumulate: 1,
  precision: 'float32' as TrainingPrecision,
  clipNorm: null,
  capture: true,
  skipLimit: 10,
  logEvery: 10,
  validateEvery: 1000,
  picturesEvery: 1000,
  saveEvery: 1000,
  secondsBetweenSaves: 600,
  keepLast: 3,
  keepEvery: 0,
  keepBest: 3,
  loggers: [] as readonly Logger[],
};

/** Options with every default filled in. */
export type Settings<Batch> = Required<Omit<TrainerOptions<Batch>, 'validation' | 'monitor'>> &
  Pick<TrainerOptions<Batch>, 'validation' | 'monitor'>;

/** Fills in defaults. @throws ArgumentError that names the first option that cannot be. */
export function settingsOf<Batch>(options: TrainerOptions<Batch>): Settings<Batch> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const settings = { ...defaults, ...Object.fromEntries(given) } as Settings<Batch>;
  const atLeast = (lowest: number, ...names: (keyof Settings<Batch>)[]) => {
    for (const name of names) {
      const value: unknown = settings[name];
      if (!Number.isSafeInteger(value) || (value as number) < lowest)
        throw new ArgumentError(
          `Trainer: ${name} must be an integer of at least ${lowest}, got ${String(value)}`,
        );
    }
  };
  atLeast(0, 'seed', 'skipLimit', 'logEvery', 'validateEvery', 'picturesEvery', 'saveEvery');
  atLeast(0, 'keepEvery');
  atLeast(1, 'steps', 'accumulate', 'keepLast', 'keepBest');
  const { precision, clipNorm, secondsBetweenSaves } = settings;
  check(
    ['float32', 'bfloat16', 'float16'].includes(precision),
    () => `Trainer: precision must be float32, bfloat16 or float16, got ${String(precision)}`,
  );
  check(
    clipNorm === null || clipNorm > 0,
    () => `Trainer: clipNorm must be above 0 or null, got ${clipNorm}`,
  );
  check(
    secondsBetweenSaves > 0,
    () => `Trainer: secondsBetweenSaves must be above 0, got ${secondsBetweenSaves}`,
  );
  return settings;
}
