// What a result was measured by, kept beside it: two numbers compare only when they were measured alike.
import { EmulsionError, FileError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { isRecord, readJson } from '../io/json.js';
import { readEvaluationValue } from './schema.js';
import type { ResizeName } from './extractor.js';
import type { MetricParameters, Scores } from './scores.js';

/** How pictures were sampled; null where nothing tells. */
export interface SamplingRecord {
  readonly model: string | null;
  /** SHA-256 of the model's files of weights. */
  readonly modelHash: string | null;
  readonly weights: string | null;
  readonly sampler: string | null;
  readonly steps: number | string | null;
  readonly spacing: string | null;
  readonly eta: number | string | null;
  readonly guidance: number | string | null;
  readonly seed: number | string | null;
  /** SHA-256 of what else the pictures were made from, such as prompts, masks and sizes; null for nothing else. */
  readonly condition: string | null;
}

/** Which classes samples are of, and how many there are of the rarest and of the most frequent. */
export interface ClassBalance {
  /** SHA-256 of the classes' sorted names. */
  readonly hash: string;
  readonly count: number;
  readonly least: number;
  readonly most: number;
}

/** Everything that decides the scores of a set beside its pictures. */
export interface Protocol {
  readonly task: 'sets' | 'pairs' | 'first-stage';
  /** Version of this library. */
  readonly emulsion: string;
  readonly extractor: {
    /** `inception`, `emoji`, or one of somebody's own. */
    readonly name: string;
    /** SHA-256 of its file. */
    readonly weights: string;
    readonly resize: ResizeName;
  } | null;
  /** Side that all pictures were cut to; null for as they are. */
  readonly size: number | null;
  readonly reference: {
    /** SHA-256 of the pictures' names and bytes, or of a file of statistics. */
    readonly hash: string;
    readonly count: number | null;
  };
  readonly samples: {
    /** SHA-256 of what the pictures show. */
    readonly hash: string;
    readonly count: number;
    readonly classes: ClassBalance | null;
  };
  readonly sampling: SamplingRecord | null;
  readonly parameters: MetricParameters | null;
  /** SHA-256 of the files of LPIPS, where it was measured. */
  readonly lpips: string | null;
}

/** Scores with their protocol: what a result's file holds. */
export interface Evaluation {
  readonly scores: Scores;
  readonly notes: readonly string[];
  readonly protocol: Protocol;
}

export const evaluationFormat = 'emulsion evaluation 1';

/** Writes the evaluation as JSON, atomically; infinite scores become null. */
export async function saveEvaluation(path: string, evaluation: Evaluation): Promise<void> {
  await writeFileAtomic(path, formatEvaluation(evaluation));
}

/** As {@link saveEvaluation} writes it. */
export function formatEvaluation(evaluation: Evaluation): string {
  return `${JSON.stringify({ format: evaluationFormat, ...evaluation }, null, 2)}\n`;
}

/** @throws FileError that names the field when the file is no evaluation */
export async function loadEvaluation(path: string): Promise<Evaluation> {
  const value = await readJson(path);
  if (!isRecord(value) || value.format !== evaluationFormat)
    throw new FileError(
      `is no result of \`emulsion eval\`: its format is not '${evaluationFormat}'.`,
      path,
    );
  try {
    return readEvaluationValue(value);
  } catch (error) {
    throw new FileError(`is no valid result: ${(error as Error).message}`, path);
  }
}

/** What may differ between results that are compared: the pictures and where they come from. */
const free = new Set([
  'emulsion',
  'samples.hash',
  'sampling.model',
  'sampling.modelHash',
  'sampling.weights',
  'sampling.seed',
]);

/** A field of two protocols that differs, and its values. */
export interface ProtocolDifference {
  readonly field: string;
  readonly values: readonly string[];
}

/**
 * Fields in which the protocols differ although numbers compare only where they are equal.
 * @param vary fields, or groups of them such as `sampling`, that are meant to differ
 */
export function protocolDifferences(
  protocols: readonly Protocol[],
  vary: readonly string[] = [],
): ProtocolDifference[] {
  const flat = protocols.map((each) => flatten(each));
  const fields = [...new Set(flat.flatMap((each) => [...each.keys()]))].sort();
  const allowed = (field: string) =>
    free.has(field) || vary.some((name) => field === name || field.startsWith(`${name}.`));
  return fields.flatMap((field) => {
    const values = flat.map((each) => each.get(field) ?? 'unknown');
    return allowed(field) || new Set(values).size === 1 ? [] : [{ field, values }];
  });
}

function flatten(value: object, prefix = ''): Map<string, string> {
  const fields = new Map<string, string>();
  for (const [key, each] of Object.entries(value) as [string, unknown][]) {
    if (isRecord(each))
      for (const [name, text] of flatten(each, `${prefix}${key}.`)) fields.set(name, text);
    else if (each !== null) fields.set(prefix + key, String(each));
  }
  return fields;
}

/** @throws EmulsionError (`ERR_PROTOCOL`) that names every field which differs and its values */
export function checkComparable(
  results: readonly { readonly name: string; readonly protocol: Protocol }[],
  vary?: readonly string[],
): void {
  const differences = protocolDifferences(
    results.map(({ protocol }) => protocol),
    vary,
  );
  if (differences.length === 0) return;
  const lines = differences.map(({ field, values }) => {
    return `  ${field}: ${values.map((value, i) => `${value} (${results[i].name})`).join(', ')}`;
  });
  throw new EmulsionError(
    `the results were not measured alike, so their numbers do not compare:\n${lines.join('\n')}\n` +
      'Measure them alike, or name what is meant to differ with --vary.',
    'ERR_PROTOCOL',
  );
}
