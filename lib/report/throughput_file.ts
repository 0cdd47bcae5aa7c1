// What a measurement of throughput is stored as, and how such a file is read.
import { ArgumentError, FileError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { readJson } from '../io/json.js';
import { checkOptions, flag, group, integer, list, number, type Rule } from '../ldm/rules.js';

/** The machine that something was measured on. */
export interface MachineDescription {
  processor: string;
  /** of the CPU engine */
  threads: number;
  /** instruction-set level of its kernels */
  level: string;
  /** such as `cpu` or `cuda:0` */
  device: string;
  /** the GPU's name, where one computed */
  gpu?: string;
  node: string;
}

/** One sampler, number of steps and batch size. */
export interface ThroughputEntry {
  sampler: string;
  /** of the sampler */
  steps: number;
  batch: number;
  /** of each repeat, in order */
  seconds: number[];
  /** of the median repeat */
  samplesPerSecond: number;
  /** the device's tensors at their most, weights included */
  peakBytes: number;
  /** the process at its most, where the CPU computed */
  residentBytes?: number;
  /** a number that says how good the samples are, where it was given */
  quality?: number;
}

/** A file of `emulsion throughput`. */
export interface ThroughputFile {
  kind: 'emulsion throughput';
  version: 1;
  model: string;
  /** height and width of the pictures */
  size: number[];
  parameters: number;
  guidance: number;
  /** false where each kernel was launched by itself (`--no-capture`) */
  capture?: boolean;
  /** whether decoding is part of the time */
  decoded: boolean;
  seed: number;
  /** false after an interruption */
  complete: boolean;
  /** what `quality` is */
  qualityName?: string;
  machine: MachineDescription;
  entries: ThroughputEntry[];
}

export const throughputKind = 'emulsion throughput';

const exactly = (value: unknown): Rule => ({
  expected: JSON.stringify(value),
  accepts: (given) => given === value,
});
const text: Rule = {
  expected: 'a text of at most 1,000 characters',
  accepts: (value) => typeof value === 'string' && value.length <= 1000,
};
const count = integer(0, Number.MAX_SAFE_INTEGER);
const size = integer(1, 2 ** 20);
const measured = number(Number.MIN_VALUE);

const fileRules = {
  kind: exactly(throughputKind),
  version: exactly(1),
  model: text,
  size: list(size, 2, 2),
  parameters: count,
  guidance: number(0),
  capture: flag,
  decoded: flag,
  seed: count,
  complete: flag,
  qualityName: text,
  machine: group,
  entries: list(group, 0, 10_000),
};
const machineRules = {
  processor: text,
  threads: size,
  level: text,
  device: text,
  gpu: text,
  node: text,
};
const entryRules = {
  sampler: text,
  steps: size,
  batch: size,
  seconds: list(measured, 1, 10_000),
  samplesPerSecond: measured,
  peakBytes: count,
  residentBytes: count,
  quality: number(-Number.MAX_VALUE),
};

/** Checks what a file holds. @throws ArgumentError that names what is wrong in it */
export function checkThroughput(value: unknown): asserts value is ThroughputFile {
  const required = (rules: object, ...optional: string[]) =>
    Object.keys(rules).filter((name) => !optional.includes(name)) as never[];
  checkOptions<ThroughputFile>(
    'throughput',
    value,
    fileRules,
    required(fileRules, 'capture', 'qualityName'),
  );
  checkOptions<MachineDescription>(
    'throughput: machine',
    value.machine,
    machineRules,
    required(machineRules, 'gpu'),
  );
  value.entries.forEach((entry, i) =>
    checkOptions<ThroughputEntry>(
      `throughput: entry ${i}`,
      entry,
      entryRules,
      required(entryRules, 'residentBytes', 'quality'),
    ),
  );
}

/** Writes a measurement as JSON. */
export function writeThroughput(path: string, file: ThroughputFile): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(file, null, 2)}\n`);
}

/** Reads one. @throws FileError when it cannot be read, or is another file */
export async function readThroughput(path: string): Promise<ThroughputFile> {
  const value = await readJson(path);
  try {
    checkThroughput(value);
  } catch (error) {
    if (error instanceof ArgumentError) throw new FileError(error.message, path);
    throw error;
  }
  return value;
}
