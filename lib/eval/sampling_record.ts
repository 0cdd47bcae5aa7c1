// What the file beside sampled pictures tells of how they were made.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../errors.js';
import { loadConfig } from '../io/model_folder.js';
import type { ClassBalance, SamplingRecord } from './protocol.js';
import { isRecord } from './schema.js';

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
  const runs: unknown = await loadConfig(folder, configFile);
  if (!Array.isArray(runs) || !runs.every(isRecord) || runs.length === 0)
    throw new FileError('is no list of runs as `emulsion sample` writes it.', path);
  const described = runs.reduce<number>((sum, run) => sum + (Number(run.count) || 0), 0);
  const notes =
    described === count
      ? []
      : [`${configFile} speaks of ${described} pictures, but ${count} are there.`];
  return { sampling: mergeRuns(runs), classes: balanceOf(runs), notes };
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
  };
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
  return classBalance([...pictures.values()]);
}

/** Of the numbers of pictures of each class. */
export function classBalance(counts: readonly number[]): ClassBalance {
  const [least, most] = counts.reduce(
    ([low, high], count) => [Math.min(low, count), Math.max(high, count)],
    [Infinity, 0],
  );
  return { count: counts.length, least: Math.floor(least), most: Math.ceil(most) };
}
