// One optimizer cycle: each of its batches through every phase, and a step of every optimizer behind the
// last. As in the original the phases alternate batch by batch, so that gradients of all phases grow side
// by side, and a later phase sees the step of an earlier one on the cycle's last batch only.
//
// The decision to step waits for the loss and the norm of the gradients, so that no weight ever sees a NaN;
// both are asked for at once. Losses that can be recorded are, with their backward passes: a step is then
// a replay, and JavaScript leaves the processor to it.
import { noGrad } from '../autograd/index.js';
import { zerosLike } from '../creation.js';
import { ArgumentError, check, checkShape } from '../errors.js';
import { assign } from '../nn/state.js';
import { autocast } from '../ops/autocast.js';
import { cast, concat } from '../ops/index.js';
import { clipScale, gradNorm, GradScaler } from '../optim/index.js';
import type { LowDType } from '../ownership.js';
import { keep, tensorsIn, tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { LossRecorder } from './loss_recorder.js';
import {
  RecordableLoss,
  type AnyOptimizer,
  type Phase,
  type PhaseLoss,
  type StepContext,
  type TrainingTask,
} from './task.js';

/** The dtype of matrix work; weights stay float32. */
export type TrainingPrecision = 'float32' | LowDType;

export interface TrainingCycleOptions {
  /** Given to losses, for their random numbers. */
  seed: number;
  /** Batches in a cycle. */
  accumulate: number;
  /** float16 scales losses, see {@link GradScaler}. */
  precision: TrainingPrecision;
  /** Largest norm of a phase's gradients, or null: they stay as they are. */
  clipNorm: number | null;
  /**
   * Losses that can be recorded are, once, and replayed: the same bits. Cycles of several batches, whose gradients
   * begin in different ways, are not. The recording keeps the memory of a pass. Default true.
   */
  capture?: boolean;
}

/** What a phase did in a cycle. */
export interface PhaseReport {
  name: string;
  /** Means over the cycle's images. */
  loss: number;
  log: Record<string, number>;
  /** Before clipping; NaN when it was not computed. */
  gradNorm: number;
  /** Why the optimizer did not step; null when it did. */
  skipped: string | null;
  /** The step was left out to find a loss scale, as float16 now and then must. */
  rescaled: boolean;
}

/** The loss and the reported numbers of a phase, summed over the cycle on the device. */
interface Tally {
  /** Of the numbers after the first, which is the loss. */
  names: string[];
  /** [1 + names] */
  values: Tensor;
}

/** @internal Images in a batch. */
export function batchSize<Batch>(task: TrainingTask<Batch>, batch: Batch): number {
  const [first] = tensorsIn(batch);
  const size = task.size?.(batch) ?? first?.shape[0];
  check(
    size !== undefined && Number.isSafeInteger(size) && size > 0,
    () => `${task.name}: a batch must hold images; its size is ${size}. Give the task a size().`,
  );
  return size;
}

/** @internal What the precision option means to `autocast`. */
export const castTo = (precision: TrainingPrecision): LowDType | false =>
  precision === 'float32' ? false : precision;

/**
 * Runs the cycles of a task: what the trainer does with batches, for loops that look after everything else
 * themselves.
 *
 * ```ts
 * const cycle = new TrainingCycle(task, { seed: 1, accumulate: 1, precision: 'float32', clipNorm: 1 });
 * for (let step = 0; step < 1000; ++step) {
 *   const [{ loss }] = await tidy(() => cycle.run([nextBatch()], step));
 * }
 * ```
 */
export class TrainingCycle<Batch> {
  readonly scaler: GradScaler;
  /** Of each phase: what it must not train. */
  private readonly others: Tensor[][];
  private readonly recorder = new LossRecorder<Tally>();
  private readonly buffers: { buffer: Tensor; before: Tensor }[];

  constructor(
    private readonly task: TrainingTask<Batch>,
    private readonly options: TrainingCycleOptions,
  ) {
    const { phases, modules } = task;
    checkPhases(task);
    this.scaler = new GradScaler({ enabled: options.precision === 'float16' });
    const all = new Set([
      ...Object.values(modules).flatMap((module) => module.parameters()),
      ...phases.flatMap(({ parameters }) => parameters),
    ]);
    this.others = phases.map(({ parameters }) => {
      const own = new Set(parameters);
      return [...all].filter((parameter) => !own.has(parameter));
    });
    const buffers = new Set(Object.values(modules).flatMap((module) => module.buffers()));
    this.buffers = [...buffers].map((buffer) => ({ buffer, before: keep(zerosLike(buffer)) }));
  }

  /** Trains on the batches of cycle number `step`, `accumulate` of them. @returns what each phase did */
  async run(batches: readonly Batch[], step: number): Promise<PhaseReport[]> {
    const { phases, ema } = this.task;
    const { accumulate, seed } = this.options;
    const sizes = batches.map((batch) => batchSize(this.task, batch));
    const images = sizes.reduce((a, b) => a + b);
    const tallies: (Tally | null)[] = phases.map(() => null);
    const reports: PhaseReport[] = [];
    for (const { buffer, before } of this.buffers) assign(before, buffer);
    try {
      for (const [micro, batch] of batches.entries()) {
        const context = { step, micro, accumulate, seed };
        for (const [i, phase] of phases.entries()) {
          const tally = this.backward(i, batch, context, sizes[micro] / images, tallies[i]);
          tallies[i] = tally;
          if (micro === accumulate - 1) reports.push(await this.update(phase, tally));
        }
        ema?.ema.update();
      }
      if (reports.some(({ skipped }) => skipped !== null)) this.restoreBuffers();
      // Where a loss is not finite, gradients were never asked.
      if (reports.some(({ loss }) => Number.isFinite(loss))) this.scaler.update();
    } finally {
      for (const tally of tallies) tally?.values.dispose();
      for (const { optimizer } of phases) optimizer.zeroGrad();
    }
    for (const { schedule } of phases) schedule?.step();
    return reports;
  }

  /** Gives back the memory that recordings keep, for whatever else needs it; the next cycle makes new ones. */
  releaseRecordings(): void {
    this.recorder.release();
  }

  dispose(): void {
    this.releaseRecordings();
    this.scaler.dispose();
    for (const { before } of this.buffers) before.dispose();
  }

  // Adds the gradients of one batch.
  private backward(
    index: number,
    batch: Batch,
    context: StepContext,
    share: number,
    before: Tally | null,
  ): Tally {
    const phase = this.task.phases[index];
    const { accumulate, capture = true } = this.options;
    const inPrecision = <T>(body: () => T): T => autocast(castTo(this.options.precision), body);
    const finish = (compute: () => PhaseLoss): Tally => {
      // The terms of a recordable loss are computed where they are read.
      const { loss, log } = inPrecision(() => {
        const { loss, log } = compute();
        return { loss, log };
      });
      const tally = addTo(before, phase.name, loss, log, share);
      this.scaler.scale(share === 1 ? loss : loss.mul(share)).backward();
      return tally;
    };
    return withoutGradients(this.others[index], () =>
      tidy(() => {
        const given = inPrecision(() => phase.loss(batch, context));
        const recorded = capture && accumulate === 1 && given instanceof RecordableLoss;
        const { names, values } = recorded
          ? this.recorder.run(phase.name, given, finish)
          : finish(() => given);
        return { names, values: keep(values.alias()) };
      }),
    );
  }

  private update(phase: Phase<Batch>, { names, values }: Tally): Promise<PhaseReport> {
    const { name, optimizer, parameters } = phase;
    const { precision, clipNorm } = this.options;
    const scaled = precision === 'float16';
    return tidy(async () => {
      // A scaler is asked for gradients of finite losses alone.
      const early = scaled ? null : gradNorm(parameters);
      const [read, known] = await Promise.all([values.data(), early?.item()]);
      const [loss, ...numbers] = read as Float32Array;
      const log = Object.fromEntries(names.map((key, i) => [key, numbers[i]]));
      const report: PhaseReport = {
        name,
        loss,
        log,
        gradNorm: NaN,
        skipped: null,
        rescaled: false,
      };
      if (!Number.isFinite(loss)) {
        const bad = names.filter((key) => !Number.isFinite(log[key]));
        report.skipped = `its loss is ${loss}${bad.length > 0 ? `; not finite: ${bad.join(', ')}` : ''}`;
        optimizer.zeroGrad();
        return report;
      }
      const norm = early ?? this.scaler.gradNorm(optimizer);
      report.gradNorm = known ?? (await norm.item());
      const options = clipNorm === null ? {} : { gradScale: clipScale(norm, clipNorm) };
      // The scaler must learn of the gradients that it refuses.
      const stepped =
        (scaled || Number.isFinite(report.gradNorm)) &&
        (await this.scaler.step(optimizer, options));
      if (!stepped) {
        report.skipped = `the norm of its gradients is ${report.gradNorm}`;
        report.rescaled = scaled && this.scaler.currentScale > 1;
      }
      optimizer.zeroGrad();
      return report;
    });
  }

  // A step that is left out leaves no trace: batch norms would keep what they saw.
  private restoreBuffers(): void {
    for (const { buffer, before } of this.buffers) assign(buffer, before);
  }
}

function addTo(
  before: Tally | null,
  phase: string,
  loss: Tensor,
  log: Readonly<Record<string, Tensor>>,
  share: number,
): Tally {
  const names = Object.keys(log);
  const list = [loss, ...Object.values(log)];
  list.forEach((x, i) =>
    checkShape(
      x.numel === 1,
      () => `phase ${phase}: ${names[i - 1] ?? 'its loss'} must be one number, got ${x.describe()}`,
    ),
  );
  check(
    before === null || before.names.join() === names.join(),
    () => `phase ${phase}: reported ${names.join(', ')} after ${before?.names.join(', ')}`,
  );
  return noGrad(() => {
    const all = concat(list.map((x) => cast(x, 'float32').reshape([1])));
    const part = share === 1 ? all : all.mul(share);
    const values = before ? before.values.add(part) : part;
    before?.values.dispose();
    return { names, values };
  });
}

/** Runs body while the tensors need no gradient; puts their flags back, also when it throws. */
function withoutGradients<T>(tensors: readonly Tensor[], body: () => T): T {
  const trained = tensors.filter((x) => x.requiresGrad);
  for (const x of trained) x.requiresGrad = false;
  try {
    return body();
  } finally {
    for (const x of trained) x.requiresGrad = true;
  }
}

const trainedBy = (optimizer: AnyOptimizer): Tensor[] =>
  optimizer.groups.flatMap(({ params }) => params);

function checkPhases<Batch>({ name, phases, modules }: TrainingTask<Batch>): void {
  const fail = (message: string): never => {
    throw new ArgumentError(`${name}: ${message}`);
  };
  if (phases.length === 0) fail('a task needs at least one phase');
  const names = [...phases.map((phase) => phase.name), ...Object.keys(modules)];
  const odd = names.find((each) => !/^\w+$/.test(each));
  if (odd !== undefined)
    fail(`'${odd}' cannot name a phase or module: use letters, digits and underscores`);
  if (new Set(phases.map((phase) => phase.name)).size < phases.length)
    fail('two phases have the same name');
  const owners = new Map<Tensor, string>();
  for (const phase of phases) {
    const own = new Set(phase.parameters);
    const given = trainedBy(phase.optimizer);
    if (own.size !== given.length || given.some((parameter) => !own.has(parameter)))
      fail(
        `phase ${phase.name} lists ${own.size} parameters, its optimizer has ${given.length}; ` +
          'they must be the same',
      );
    for (const parameter of own) {
      const other = owners.get(parameter);
      if (other !== undefined)
        fail(`${parameter.describe()} is trained by both ${other} and ${phase.name}`);
      owners.set(parameter, phase.name);
    }
  }
}
