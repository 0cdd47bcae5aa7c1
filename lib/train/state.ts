// All that a training must remember to go on as if it had never stopped: what is saved, what a saved state
// must agree with, and how it is brought back.
import { check, FileError } from '../errors.js';
import { withPrefix, type Json } from '../io/index.js';
import type { StateReader, TensorSource } from '../io/state.js';
import type { GradScaler, GradScalerState, OptimizerState } from '../optim/index.js';
import { defaultGenerator, type GeneratorState } from '../random.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import type { SavedState, State } from './checkpoint.js';
import type { Measurements } from './measurements.js';
import type { Phase, TrainingTask } from './task.js';

/** Where a training stands. */
export interface Counters {
  /** Finished cycles. */
  step: number;
  /** Batches taken from the data. */
  batches: number;
  /** Images trained on. */
  images: number;
  /** Optimizer steps left out, because something was not finite. */
  skipped: number;
  /** Of these, cycles in a row up to now that float16's search for a scale does not explain. */
  skippedInARow: number;
  /** A validation after the last cycle is still to be made: the run was interrupted in it, or before. */
  validationDue?: true;
}

type PlainOptimizer = Omit<OptimizerState, 'tensors'>;

interface Plain {
  version: number;
  /** What the state belongs to. */
  identity: Json;
  counters: Counters;
  generator: GeneratorState;
  scaler: GradScalerState;
  optimizers: Record<string, PlainOptimizer>;
  schedules: Record<string, { step: number; base: number[] }>;
  task: Json;
  /** Of the steps that no line of the log has told yet; states of earlier releases have none. */
  measured?: Json;
}

const version = 1;
const prefixes = {
  module: (name: string) => `modules.${name}.`,
  ema: 'ema.',
  optimizer: (name: string) => `optimizers.${name}.`,
};

/** Reads and writes the memory of a task in training. */
export class TrainingState<Batch> {
  /** @param identity what must be equal to go on: task, configuration, seed, ... */
  constructor(
    private readonly task: TrainingTask<Batch>,
    private readonly scaler: GradScaler,
    private readonly identity: Json,
  ) {}

  /** Everything to save. Belongs to the scope around the call; take no step until it is written. */
  collect(counters: Counters, measured: Measurements): State {
    const { modules, ema, phases } = this.task;
    const tensors = new Map<string, Tensor | TensorSource>();
    const add = (prefix: string, entries: Iterable<readonly [string, Tensor | TensorSource]>) => {
      for (const [key, source] of entries) tensors.set(prefix + key, source);
    };
    for (const [name, module] of Object.entries(modules))
      add(prefixes.module(name), module.exportState());
    if (ema) add(prefixes.ema, Object.entries(ema.ema.stateDict()));
    const plain: Plain = {
      version,
      identity: this.identity,
      counters,
      generator: defaultGenerator.state(),
      scaler: this.scaler.stateDict(),
      optimizers: {},
      schedules: {},
      task: this.task.state?.() ?? null,
      measured: measured.state(),
    };
    for (const { name, optimizer, schedule } of phases) {
      const { tensors: slots, ...rest } = optimizer.stateDict();
      add(prefixes.optimizer(name), Object.entries(slots));
      plain.optimizers[name] = rest;
      if (schedule) plain.schedules[name] = schedule.stateDict();
    }
    return { tensors, plain: plain as unknown as Json };
  }

  /**
   * Brings a saved state back.
   * @throws ArgumentError that lists every difference when it is a state of something else; nothing is
   * changed then
   */
  async restore({ file, plain: given }: SavedState, measured: Measurements): Promise<Counters> {
    const plain = parsePlain(given, file.origin);
    const found = [
      ...differences(plain.identity, this.identity),
      ...(await tidy(async () => this.tensorDifferences(file, plain))),
    ];
    check(
      found.length === 0,
      () =>
        `${file.origin} is a state of another training:\n${found.map((line) => `  ${line}`).join('\n')}\n` +
        'Go on with the settings it was made with, or start a new run.',
    );
    this.scaler.loadStateDict(plain.scaler);
    defaultGenerator.setState(plain.generator);
    const { modules, ema, phases } = this.task;
    for (const [name, module] of Object.entries(modules))
      await module.importState(withPrefix(file, prefixes.module(name)));
    await tidy(async () => {
      if (ema) await ema.ema.loadStateDict(await readAll(withPrefix(file, prefixes.ema)));
      for (const { name, optimizer, schedule } of phases) {
        const tensors = await readAll(withPrefix(file, prefixes.optimizer(name)));
        optimizer.loadStateDict({ ...plain.optimizers[name], tensors });
        schedule?.loadStateDict(plain.schedules[name]);
      }
    });
    this.task.loadState?.(plain.task);
    measured.load(plain.measured);
    return plain.counters;
  }

  // What of the file's tensors and optimizers does not fit the task.
  private tensorDifferences(file: StateReader, plain: Plain): string[] {
    const { modules, ema, phases } = this.task;
    const expected = new Map<string, readonly number[]>();
    for (const [name, module] of Object.entries(modules))
      for (const [key, { shape }] of module.exportState())
        expected.set(prefixes.module(name) + key, shape);
    for (const [key, { shape }] of Object.entries(ema?.ema.stateDict() ?? {}))
      expected.set(prefixes.ema + key, shape);
    const optimizers = phases.map(({ name }) => prefixes.optimizer(name));
    const fixed = file.keys.filter((key) => !optimizers.some((prefix) => key.startsWith(prefix)));
    const found = new Map(fixed.map((key) => [key, file.info(key).shape]));
    return [
      ...shapeDifferences(found, expected),
      ...phases.flatMap((phase) => optimizerDifferences(file, plain, phase)),
    ];
  }
}

function shapeDifferences(
  found: ReadonlyMap<string, readonly number[]>,
  expected: ReadonlyMap<string, readonly number[]>,
): string[] {
  const text = (shape?: readonly number[]) => (shape ? `[${shape.join(', ')}]` : 'nothing');
  return [...new Set([...expected.keys(), ...found.keys()])]
    .filter((key) => text(found.get(key)) !== text(expected.get(key)))
    .map((key) => `${key}: ${text(found.get(key))} in the state, ${text(expected.get(key))} here`);
}

function optimizerDifferences<Batch>(
  file: StateReader,
  { optimizers, schedules }: Plain,
  { name, optimizer, schedule }: Phase<Batch>,
): string[] {
  const saved = optimizers[name];
  const params = optimizer.groups.flatMap((group) => group.params);
  const kind = (groups: readonly Record<string, unknown>[]): string =>
    JSON.stringify(
      groups.map(({ params: count, ...rest }) => [
        count,
        ...Object.keys(rest)
          .sort()
          .map((key) => [key, typeof rest[key]]),
      ]),
    );
  if (
    !Array.isArray(saved?.steps) ||
    !Array.isArray(saved.groups) ||
    saved.steps.length !== params.length ||
    !saved.steps.every(isCount) ||
    kind(saved.groups) !== kind(optimizer.stateDict().groups)
  )
    return [`optimizer of ${name}: of other parameters or another kind`];
  const plan = schedules[name] as { step?: unknown; base?: unknown } | undefined;
  const planned =
    isCount(plan?.step) &&
    Array.isArray(plan?.base) &&
    plan.base.length === optimizer.groups.length &&
    plan.base.every((rate) => typeof rate === 'number');
  if (planned !== (schedule !== undefined))
    return [`schedule of ${name}: ${planned ? 'one' : 'none that fits'} in the state`];
  const prefix = prefixes.optimizer(name);
  return file.keys
    .filter((key) => key.startsWith(prefix))
    .filter((key) => {
      const place = /^\w+\.(\d+)$/.exec(key.slice(prefix.length))?.[1];
      const shape = params[Number(place ?? -1)]?.shape;
      return shape?.join() !== file.info(key).shape.join();
    })
    .map((key) => `${key}: fits no parameter here`);
}

/** Leaves of plain data that differ, each with both values. */
function differences(saved: Json | undefined, here: Json | undefined, path = ''): string[] {
  const isGroup = (x: unknown): x is Record<string, Json> => typeof x === 'object' && x !== null;
  if (isGroup(saved) && isGroup(here)) {
    const keys = [...new Set([...Object.keys(saved), ...Object.keys(here)])];
    return keys.flatMap((key) =>
      differences(saved[key], here[key], path === '' ? key : `${path}.${key}`),
    );
  }
  const [before, now] = [saved, here].map((x) => JSON.stringify(x) ?? 'nothing');
  return before === now ? [] : [`${path}: ${before} in the state, ${now} here`];
}

async function readAll(reader: StateReader): Promise<Record<string, Tensor>> {
  const entries: [string, Tensor][] = [];
  for (const key of reader.keys) entries.push([key, await reader.get(key)]);
  return Object.fromEntries(entries);
}

const isCount = (x: unknown): boolean => Number.isSafeInteger(x) && (x as number) >= 0;

function parsePlain(given: Json, path: string): Plain {
  const plain = given as unknown as Partial<Plain> | null;
  if (plain?.version !== version)
    throw new FileError(
      `is a state of version ${String(plain?.version)}; this release reads version ${version}.`,
      path,
    );
  const { counters, generator, scaler, optimizers, schedules } = plain;
  const { step, batches, images, skipped, skippedInARow } = counters ?? {};
  const whole =
    [step, batches, images, skipped, skippedInARow].every(isCount) &&
    [generator, scaler, optimizers, schedules].every((x) => typeof x === 'object' && x !== null);
  if (!whole) throw new FileError('lacks a part of a training state.', path);
  return plain as Plain;
}
