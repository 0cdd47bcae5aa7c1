// Runs golden cases: finds the adapter that a case's metadata asks for, and compares what it computes.
import { dirname, resolve } from 'node:path';
import { FileError, tidy } from '../../lib/index.js';
import {
  compareStatistics,
  compareValues,
  compareZero,
  l2,
  limitOf,
  statistics,
  type Accuracy,
  type Computed,
  type Failure,
} from './compare.js';
import { listFiles, openGolden, type GoldenCase, type Values } from './golden.js';
import { compareSampled, isSampled } from './sampled.js';

/**
 * Everything a case computed, under the golden names (`out.y`, `grad.in.x`, `grad.param.KEY`, ...) and in
 * PyTorch's layout. Statistics are taken by the runner: parameters after training are `param.KEY` and
 * `ema.KEY`.
 */
export type Results = Map<string, Computed>;

/** Knows how to run the cases of one op, module or procedure. */
export interface Adapter {
  readonly name: string;
  readonly accuracy: Accuracy;
  /** Whether a case is of this kind: from its metadata and the names of its tensors, never its file. */
  handles(golden: GoldenCase): boolean;
  run(golden: GoldenCase): Promise<Results>;
  /** Golden tensors that describe the reference's run and are not computed here. */
  readonly informative?: RegExp;
  /** A limit other than the table's. */
  limit?(golden: GoldenCase, name: string): number | undefined;
}

/** Thrown by an adapter for options that the library leaves out on purpose. */
export class Unsupported extends Error {}

export interface Report {
  passed: number;
  failed: number;
  skipped: number;
}

export interface RunOptions {
  adapters: readonly Adapter[];
  /** Receives one line per failure and per skipped case. */
  print?: (line: string) => void;
  /** Also prints cases that pass. */
  verbose?: boolean;
  /** Paths to leave out. */
  exclude?: (path: string) => boolean;
}

/** Runs every case of a folder, or of one file. */
export async function runParity(path: string, options: RunOptions): Promise<Report> {
  const { print = console.log, exclude = () => false } = options;
  const report: Report = { passed: 0, failed: 0, skipped: 0 };
  const root = resolve(path);
  for (const file of await listFiles(root)) {
    if (exclude(file) || /\.(md|txt|json)$/i.test(file)) continue;
    if (!file.endsWith('.safetensors')) {
      report.skipped++;
      print(`skip ${file}: not a golden file`);
      continue;
    }
    let cases: readonly GoldenCase[];
    try {
      cases = (await openGolden(file, file === root ? dirname(root) : root)).cases;
    } catch (error) {
      // a file that breaks the format says nothing about what to run; being refused is all that is asked
      const refused = error instanceof FileError;
      report[refused ? 'skipped' : 'failed']++;
      print(`${refused ? 'skip' : 'FAIL'} ${file}: ${message(error)}`);
      continue;
    }
    for (const golden of cases) await runCase(golden, options, report, print);
  }
  return report;
}

async function runCase(
  golden: GoldenCase,
  { adapters, verbose }: RunOptions,
  report: Report,
  print: (line: string) => void,
): Promise<void> {
  const adapter = adapters.find((each) => each.handles(golden));
  if (!adapter) {
    report.skipped++;
    print(`skip ${golden.id}: unknown kind '${golden.subject ?? 'not named'}'`);
    return;
  }
  const started = performance.now();
  try {
    const results = await tidy(() => adapter.run(golden));
    const { failures, compared } = await compare(golden, adapter, results);
    for (const { tensor, text } of failures) print(`FAIL ${golden.id}: ${tensor}: ${text}`);
    if (failures.length > 0) report.failed++;
    else report.passed++;
    if (verbose && failures.length === 0) {
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      print(`pass ${golden.id}: ${compared} tensors, ${adapter.name}, ${seconds} s`);
    }
  } catch (error) {
    if (error instanceof Unsupported) {
      report.skipped++;
      print(`skip ${golden.id}: ${error.message}`);
      return;
    }
    report.failed++;
    print(`FAIL ${golden.id}: ${message(error)}`);
  }
}

async function compare(
  golden: GoldenCase,
  adapter: Adapter,
  results: Results,
): Promise<{ failures: Failure[]; compared: number }> {
  const failures: Failure[] = [];
  let compared = 0;
  for (const name of golden.names) {
    if (/^(in|up|param)\./.test(name) || adapter.informative?.test(name)) continue;
    const failure = await compareOne(golden, adapter, results, name);
    compared++;
    if (failure) failures.push(failure);
  }
  if (compared === 0)
    failures.push({ tensor: '-', text: 'the case holds nothing to compare with' });
  return { failures, compared };
}

async function compareOne(
  golden: GoldenCase,
  adapter: Adapter,
  results: Results,
  name: string,
): Promise<Failure | null> {
  if (isSampled(golden, name)) return compareSampled(golden, name, results);
  const actual = name === 'gradnorm' ? gradientNorm(results) : results.get(computedName(name));
  if (!actual) return { tensor: name, text: 'was not computed' };

  const limit = adapter.limit?.(golden, name) ?? limitOf(golden, name, adapter.accuracy);
  const [, kind, subject] = /^(grad|gradstat|paramstat|emastat)\.(.*)$/.exec(name) ?? [];
  if (kind && golden.isStructurallyZero(subject)) {
    // a parameter that only ever saw rounding noise as gradient has no defined value after training
    return kind.startsWith('grad') ? compareZero(name, actual, await gradientScale(golden)) : null;
  }
  const expected = await golden.values(name);
  if (kind?.startsWith('grad') && (await isNoise(golden, kind, expected))) {
    return compareZero(name, actual, await gradientScale(golden));
  }
  if (kind?.endsWith('stat')) {
    return compareStatistics(
      name,
      statistics(actual.data),
      expected.data,
      actual.data.length,
      Math.max(limit, 1e-4),
      kind.startsWith('grad') ? 0 : Number(golden.f32Error.param_max_abs_difference ?? 0),
    );
  }
  return compareValues(name, actual, expected, limit);
}

// the name under which an adapter reports what a golden tensor is compared with
function computedName(name: string): string {
  return name
    .replace(/^gradstat\./, 'grad.')
    .replace(/^paramstat\./, 'param.')
    .replace(/^emastat\./, 'ema.');
}

function gradientNorm(results: Results): Computed {
  const norms = [...results].filter(([name]) => name.startsWith('grad.param.'));
  return { shape: [], data: [Math.hypot(...norms.map(([, { data }]) => l2(data)))] };
}

// not every file lists its zero gradients: these are what rounding in float64 left of them
async function isNoise(golden: GoldenCase, kind: string, expected: Values): Promise<boolean> {
  const norm = kind === 'gradstat' ? expected.data[0] : l2(expected.data);
  return norm > 0 && norm < 1e-12 * (await gradientScale(golden));
}

// what "zero" is measured against: all parameter gradients, or the upstream ones where there are none
async function gradientScale(golden: GoldenCase): Promise<number> {
  if (golden.has('gradnorm')) return (await golden.values('gradnorm')).data[0];
  let scale = 0;
  for (const source of new Set([golden, golden.inputs])) {
    for (const name of source.named('up.')) scale += l2((await source.values(`up.${name}`)).data);
  }
  return scale;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
