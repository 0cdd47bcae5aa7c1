// The loop that trains: batches in, steps, numbers and pictures out, states saved often enough that
// nothing is lost but a few minutes. A run that was interrupted, by whatever, goes on bit for bit.
import { noGrad } from '../autograd/index.js';
import type { DataSource } from '../data/source.js';
import { check, EmulsionError } from '../errors.js';
import type { Json } from '../io/index.js';
import { defaultGenerator } from '../random.js';
import { tidy } from '../scope.js';
import { Checkpoints } from './checkpoint.js';
import { batchSize, TrainingCycle, type PhaseReport } from './cycle.js';
import { disposeBatch, drawPictures, firstBatch, validate } from './evaluation.js';
import { JsonlLogger } from './loggers/jsonl.js';
import type { Logger } from './loggers/logger.js';
import { Measurements, numbersOf } from './measurements.js';
import { settingsOf, type Settings, type TrainerOptions } from './options.js';
import { unlockFolder } from './run_lock.js';
import { TrainingState, type Counters } from './state.js';
import type { StepContext, TrainingTask } from './task.js';

/** How a run ended. */
export interface TrainingResult {
  /** Finished steps, those of earlier runs included. */
  readonly step: number;
  /** Images trained on. */
  readonly images: number;
  /** Optimizer steps left out, because something was not finite. */
  readonly skipped: number;
  /** false: the run was interrupted, and saved. */
  readonly finished: boolean;
}

// Keeps the numbers of dropout apart from those that weights were drawn from under the same seed.
const trainingStream = 1;

/**
 * Trains a task.
 *
 * ```ts
 * const folder = await openRunFolder('runs/kl-f8', { resume });
 * const trainer = new Trainer(task, data, { folder, steps: 100_000, loggers: [new ProgressLogger()] });
 * const { finished } = await trainer.run({ signal });
 * ```
 *
 * In a folder opened with `resume` it goes on from the newest whole state; the task must then be built as it
 * was the first time, up to the values of its weights.
 */
export class Trainer<Batch> {
  private readonly settings: Settings<Batch>;
  private readonly cycle: TrainingCycle<Batch>;
  private readonly state: TrainingState<Batch>;
  private readonly checkpoints: Checkpoints;
  private readonly loggers: readonly Logger[];
  private readonly told = new Set<string>();
  private readonly measured = new Measurements();
  private counters: Counters = { step: 0, batches: 0, images: 0, skipped: 0, skippedInARow: 0 };
  private used = false;
  private began = 0;
  private savedAt = 0;
  private savedStep = 0;
  private logged = { images: 0, at: 0 };

  /** @throws ArgumentError for options or phases that cannot be */
  constructor(
    private readonly task: TrainingTask<Batch>,
    private readonly data: DataSource<Batch>,
    options: TrainerOptions<Batch>,
  ) {
    const settings = (this.settings = settingsOf(options));
    const { seed, accumulate, precision, folder, keepLast, keepEvery, keepBest } = settings;
    this.checkpoints = new Checkpoints(folder.checkpoints, {
      last: keepLast,
      every: keepEvery,
      best: settings.monitor === undefined ? 0 : keepBest,
    });
    this.cycle = new TrainingCycle(task, settings);
    const phases = task.phases.map(({ name }) => name);
    const { name, config = null } = task;
    const identity: Json = { task: name, config, phases, seed, accumulate, precision };
    this.state = new TrainingState(task, this.cycle.scaler, identity);
    this.loggers = [new JsonlLogger(folder.metrics), ...settings.loggers];
  }

  /**
   * Trains to the last step, once. After an abort the current step is finished, the state saved, and the
   * call returns.
   *
   * @throws ArgumentError when the folder's state belongs to another training, FileError when a file cannot
   * be read or written, EmulsionError (`ERR_NOT_FINITE`) after too many steps in a row that had to be left
   * out; the last saved state stays. What data, validation or pictures throw is passed on after the finished steps
   * are saved.
   */
  async run(options: { signal?: AbortSignal } = {}): Promise<TrainingResult> {
    const { signal = new AbortController().signal } = options;
    check(!this.used, () => 'Trainer: run() can be called once; make another Trainer to go on');
    this.used = true;
    try {
      await this.begin();
      await this.loop(signal).catch((error: unknown) => {
        if (!isAbort(error, signal)) throw error;
      });
      if (this.counters.step !== this.savedStep) await this.save();
    } finally {
      this.cycle.dispose();
      try {
        for (const logger of this.loggers) await logger.close();
      } finally {
        await unlockFolder(this.settings.folder.path);
      }
    }
    const { step, images, skipped } = this.counters;
    return { step, images, skipped, finished: step >= this.settings.steps };
  }

  private async begin(): Promise<void> {
    const { folder, seed, steps } = this.settings;
    const messages: string[] = [];
    const saved = folder.resume
      ? await this.checkpoints.latest((message) => messages.push(message))
      : null;
    if (saved) this.counters = await this.state.restore(saved, this.measured);
    else defaultGenerator.setState({ seed, stream: trainingStream, step: 0 });
    const { step, images } = this.counters;
    for (const logger of this.loggers) await logger.start?.({ name: this.task.name, step, steps });
    for (const message of messages) this.tell(message);
    if (folder.resume && !saved) this.tell('no state was saved yet: starting from the beginning');
    this.began = this.savedAt = performance.now();
    this.savedStep = step;
    this.logged = { images, at: this.began };
  }

  private async loop(signal: AbortSignal): Promise<void> {
    await this.catchUp(signal);
    const from = this.counters.batches;
    const batches = this.data.batches({ from, signal })[Symbol.asyncIterator]();
    try {
      while (this.counters.step < this.settings.steps && !signal.aborted) {
        const taken: Batch[] = [];
        try {
          await this.keepingSteps(() => this.take(batches, taken));
          await this.train(taken);
          await this.keepingSteps(() => this.look(taken, signal));
        } finally {
          taken.forEach(disposeBatch);
        }
        const { saveEvery, secondsBetweenSaves } = this.settings;
        const late = performance.now() - this.savedAt >= 1000 * secondsBetweenSaves;
        const isSaved = this.savedStep === this.counters.step;
        if (!isSaved && (late || isDue(this.counters.step, saveEvery))) await this.save();
      }
    } finally {
      await batches.return?.();
    }
  }

  // What fails between steps, such as a picture that cannot be read, costs none of them.
  private async keepingSteps(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (error) {
      const isSaved = this.savedStep === this.counters.step;
      // The first error is the one to tell.
      if (!isSaved)
        await this.save().catch((other: Error) => this.tell(`nothing was saved: ${other.message}`));
      throw error;
    }
  }

  private async take(batches: AsyncIterator<Batch>, taken: Batch[]): Promise<void> {
    while (taken.length < this.settings.accumulate) {
      const { done, value } = await batches.next();
      if (done)
        throw new EmulsionError(
          `${this.task.name}: the data ended after ${this.counters.batches} batches; batches() must be endless`,
          'ERR_DATA',
        );
      taken.push(value);
    }
  }

  private async train(batches: readonly Batch[]): Promise<void> {
    const { task, counters } = this;
    if (counters.step === 0)
      await noGrad(() => tidy(async () => task.beforeFirstStep?.(batches[0], this.context())));
    const reports = await this.cycle.run(batches, counters.step);
    const images = batches.reduce((sum, batch) => sum + batchSize(task, batch), 0);
    const { batchesPerEpoch } = this.data;
    const { validation, validateEvery } = this.settings;
    const before = Math.floor(counters.batches / batchesPerEpoch);
    counters.step += 1;
    counters.batches += batches.length;
    counters.images += images;
    delete counters.validationDue;
    if (validation && isDue(counters.step, validateEvery)) counters.validationDue = true;
    const [{ loss }] = reports;
    for (const logger of this.loggers) logger.step?.({ step: counters.step, images, loss });
    this.measured.add(numbersOf(reports), images);
    if (Math.floor(counters.batches / batchesPerEpoch) > before) this.measured.endEpoch();
    this.noteSkips(reports);
    const { logEvery, steps } = this.settings;
    if (isDue(counters.step, logEvery) || counters.step === steps) this.log(reports);
  }

  private noteSkips(reports: readonly PhaseReport[]): void {
    const { counters, settings } = this;
    const skipped = reports.filter((report) => report.skipped !== null);
    const serious = skipped.filter(({ rescaled }) => !rescaled);
    counters.skipped += skipped.length;
    counters.skippedInARow = serious.length > 0 ? counters.skippedInARow + 1 : 0;
    if (serious.length === 0) return;
    const reasons = serious.map(({ name, skipped: reason }) => `${name}, for ${reason}`).join('; ');
    this.tell(`left out the step of ${reasons} (${counters.skipped} so far)`);
    if (counters.skippedInARow > settings.skipLimit)
      throw new EmulsionError(
        `${this.task.name}: ${counters.skippedInARow} steps in a row had to be left out, up to step ` +
          `${counters.step}: of ${reasons}. What was saved is whole. Try a lower learning rate, clipNorm ` +
          'or float32.',
        'ERR_NOT_FINITE',
      );
  }

  private log(reports: readonly PhaseReport[]): void {
    const { task, counters, logged } = this;
    const values = this.measured.take();
    for (const { name, optimizer } of task.phases)
      optimizer.groups.forEach(({ lr }, group) => {
        values[group === 0 ? `lr/${name}` : `lr/${name}/${group}`] = lr;
      });
    // The original's names, where there is one rate to tell.
    if (task.phases.length === 1) values.lr_abs = task.phases[0].optimizer.groups[0].lr;
    values.global_step = counters.step;
    values.epoch = Math.floor((counters.batches - 1) / this.data.batchesPerEpoch);
    if (this.settings.precision === 'float16') values.loss_scale = this.cycle.scaler.currentScale;
    const now = performance.now();
    values.skipped = counters.skipped;
    values.images = counters.images;
    values.images_per_second = (1000 * (counters.images - logged.images)) / (now - logged.at);
    values.seconds = (now - this.began) / 1000;
    this.logged = { images: counters.images, at: now };
    for (const logger of this.loggers) logger.scalars(counters.step, values);
    const numbers: Record<string, number> = {};
    for (const { log } of reports) Object.assign(numbers, log);
    for (const warning of task.warnings?.(numbers, this.context()) ?? []) {
      // Said once: what is wrong now is wrong at the next step too.
      if (!this.told.has(warning)) this.tell(warning);
      this.told.add(warning);
    }
  }

  /** The validation in which the run was interrupted. */
  private async catchUp(signal: AbortSignal): Promise<void> {
    const { validation } = this.settings;
    if (!validation || !this.counters.validationDue) return;
    if (!(await this.validate(validation, signal))) await this.save();
  }

  /** @returns whether the state was saved after it */
  private async validate(validation: DataSource<Batch>, signal: AbortSignal): Promise<boolean> {
    const { task, counters } = this;
    const { precision } = this.settings;
    const values = await validate(task, validation, this.context(), precision, signal);
    if (Object.keys(values).length > 0)
      for (const logger of this.loggers) logger.scalars(counters.step, values);
    delete counters.validationDue;
    return this.monitor(values);
  }

  /** Validations and pictures that are due. */
  private async look(batches: readonly Batch[], signal: AbortSignal): Promise<void> {
    const { task } = this;
    const { validation, picturesEvery, precision, folder } = this.settings;
    const { step, validationDue } = this.counters;
    const context = this.context();
    const isShown = task.pictures && isDue(step, picturesEvery);
    // Both may need more memory than a step does.
    if (validationDue || isShown) this.cycle.releaseRecordings();
    if (validation && validationDue) await this.validate(validation, signal);
    if (!isShown) return;
    const draw = async (split: 'train' | 'val', batch: Batch): Promise<void> => {
      const files = await drawPictures(task, batch, split, context, precision, folder.images);
      for (const logger of this.loggers) await logger.pictures?.(step, files);
    };
    await draw('train', batches[batches.length - 1]);
    if (validation) await firstBatch(validation, signal, (batch) => draw('val', batch));
  }

  // Saves the state if few were better, and says whether it did.
  private async monitor(values: Readonly<Record<string, number>>): Promise<boolean> {
    const { monitor } = this.settings;
    if (monitor === undefined) return false;
    if (monitor in values) {
      const value = values[monitor];
      const isAmongBest = await this.checkpoints.isAmongBest(this.counters.step, value);
      if (isAmongBest) await this.save(value);
      return isAmongBest;
    }
    const message =
      `validations give no ${monitor}, so no best states are kept; they give ` +
      `${Object.keys(values).join(', ') || 'nothing'}`;
    if (!this.told.has(message)) this.tell(message);
    this.told.add(message);
    return false;
  }

  private async save(value?: number): Promise<void> {
    const { step } = this.counters;
    await tidy(async () => {
      await this.checkpoints.save(step, this.state.collect(this.counters, this.measured), value);
    });
    this.savedStep = step;
    this.savedAt = performance.now();
  }

  private tell(message: string): void {
    for (const logger of this.loggers) logger.text?.(this.counters.step, message);
  }

  private context(): StepContext {
    const { accumulate, seed } = this.settings;
    return { step: this.counters.step, micro: 0, accumulate, seed };
  }
}

const isDue = (step: number, every: number): boolean => every > 0 && step % every === 0;

// Errors that mean nothing but that the signal was heard.
const isAbort = (error: unknown, signal: AbortSignal): boolean =>
  signal.aborted && (error === signal.reason || (error as Error | null)?.name === 'AbortError');
