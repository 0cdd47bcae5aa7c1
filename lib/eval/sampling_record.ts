// What the file beside sampled pictures tells of how they were made.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../errors.js';
import { isRecord, readJson } from '../io/json.js';
import type { ClassBalance, SamplingRecord } from './protocol.js';
import { sha256 } from './hash.js';

const configFile = 'sampling_config.json';

type Value = string | number | null;

export interface FolderRecord {
  readonly sampling: SamplingRecord;
  readonly classes: ClassBalance | null;
  /** Where the file does not speak of the pictures that are there. */
  readonly notes: readonly string[];
}

/**
 * Reads `sampling_config.json` of a folder that `emulsion sample` and its like wrote. Settings that differ between
 * its runs are given as a text that lists them.
 *
 * @param count pictures in the folder
 * @returns null where there is no such file
 * @throws FileError when the file is damaged
 */
export async function readSamplingRecord(
  folder: string,
  count: number,
): Promise<FolderRecord | null> {
  const path = join(folder, configFile);
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) return null;
  const runs = await readSamplingRuns(path);
  const described = runs.reduce<number>((sum, run) => sum + (Number(run.count) || 0), 0);
  const notes =
    described === count
      ? []
      : [`${configFile} speaks of ${described} pictures, but ${count} are there.`];
  return { sampling: mergeRuns(runs), classes: balanceOf(runs), notes };
}

/**
 * The runs that a `sampling_config.json` lists, at least one, whatever each holds.
 * @throws FileError when it is another file
 */
export async function readSamplingRuns(path: string): Promise<Record<string, unknown>[]> {
  const runs: unknown = await readJson(path);
  if (!Array.isArray(runs) || !runs.every(isRecord) || runs.length === 0)
    throw new FileError(
      'is no list of runs as `emulsion sample` writes it: move it away, or choose another folder.',
      path,
    );
  return runs;
}

function mergeRuns(runs: readonly Record<string, unknown>[]): SamplingRecord {
  const filled = runs.map(withDefaults);
  const merged = (name: string): Value => {
    const values = [...new Set(filled.map((run) => plain(run[name])))];
    return values.length === 1 ? values[0] : `mixed: ${values.join(', ')}`.slice(0, 1000);
  };
  const text = (name: string): string | null => {
    const value = merged(name);
    return value === null ? null : String(value);
  };
  return {
    model: text('model'),
    modelHash: null,
    weights: text('weights'),
    sampler: text('sampler'),
    steps: merged('steps'),
    spacing: text('spacing'),
    eta: merged('eta'),
    guidance: merged('guidance'),
    seed: merged('seed'),
    condition: conditionOf(runs),
  };
}

/** Fields of a run that a record tells by themselves, and those that decide no picture. */
const told = new Set([
  ...['first', 'count', 'emulsion', 'model', 'weights', 'sampler', 'steps', 'stepsTaken'],
  ...['spacing', 'batch', 'eta', 'guidance', 'seed', 'classes', 'perClass'],
]);

// Prompts, masks, sizes: whatever else the pictures were made from, told as one.
function conditionOf(runs: readonly Record<string, unknown>[]): string | null {
  const rest = runs.map((run) =>
    JSON.stringify(Object.entries(run).filter(([name]) => !told.has(name))),
  );
  const different = [...new Set(rest)].sort();
  return different.every((each) => each === '[]') ? null : sha256(different.join('\n'));
}

/** What samplers do when they are not told. */
const defaults: Readonly<Record<string, { eta?: number; spacing?: string }>> = {
  ddim: { eta: 0, spacing: 'uniform' },
  plms: { spacing: 'uniform' },
  'dpm++': { spacing: 'linspace' },
  euler: { spacing: 'linspace' },
  'euler-a': { eta: 1, spacing: 'linspace' },
  unipc: { spacing: 'linspace' },
};

/** Settings of a run with its sampler's defaults: said or not, they are the same. */
export function withDefaults(run: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const name = String(run.sampler);
  const { eta = null, spacing = null } = Object.hasOwn(defaults, name) ? defaults[name] : {};
  return {
    ...run,
    eta: run.eta ?? eta,
    guidance: run.guidance ?? 1,
    spacing: run.spacing ?? spacing,
  };
}

const plain = (value: unknown): Value => {
  if (typeof value === 'string') return value.slice(0, 1000);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
};

// Each run makes as many pictures of every class that it names.
function balanceOf(runs: readonly Record<string, unknown>[]): ClassBalance | null {
  const pictures = new Map<string, number>();
  for (const { classes, count } of runs) {
    if (!Array.isArray(classes) || classes.length === 0) return null;
    if (!Number.isSafeInteger(count) || (count as number) < 1) return null;
    for (const each of classes as unknown[]) {
      const name = JSON.stringify(each);
      pictures.set(name, (pictures.get(name) ?? 0) + (count as number) / classes.length);
    }
  }
  return classBalance(pictures);
}

/** Of the number of pictures of each class, which JSON names. */
export function classBalance(pictures: ReadonlyMap<string, number>): ClassBalance {
  let [least, most] = [Infinity, 0];
  for (const count of pictures.values())
    [least, most] = [Math.min(least, count), Math.max(most, count)];
  return {
    hash: sha256([...pictures.keys()].sort().join('\n')),
    ...{ count: pictures.size, least: Math.floor(least), most: Math.ceil(most) },
  };
}
