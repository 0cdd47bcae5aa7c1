// Results of `emulsion eval` as a report shows them: scores by name, whatever else a file holds.
import { formatNumber } from './format.js';
import { isObject, leavesOf, type JsonObject } from './json.js';

/** A result file. */
export interface Evaluation {
  /** of the file */
  readonly name: string;
  readonly value: JsonObject & { readonly scores: JsonObject };
}

const most = 200;

/** Whether a file's value is a result, of this version or a later one. */
export function isEvaluation(value: unknown): value is Evaluation['value'] {
  return (
    isObject(value) &&
    typeof value.format === 'string' &&
    value.format.startsWith('emulsion evaluation') &&
    isObject(value.scores)
  );
}

/** The scores as they are shown: a number, or a mean with its deviation. */
export function scoresOf({ value }: Evaluation): Map<string, string> {
  const entries = Object.entries(value.scores).slice(0, most);
  return new Map(entries.map(([name, score]) => [name.slice(0, 100), shown(score)]));
}

function shown(score: unknown): string {
  if (typeof score === 'number') return formatNumber(score);
  // JSON has no infinite numbers: the PSNR of equal pictures is null.
  if (score === null) return '∞';
  if (!isObject(score)) return '–';
  const { mean, std } = score;
  return typeof std === 'number' ? `${shown(mean)} ± ${formatNumber(std)}` : shown(mean);
}

/** What was done, by the path of its name. */
export function protocolOf({ value }: Evaluation): Map<string, string> {
  const leaves = leavesOf(value.protocol, most).filter(([, leaf]) => leaf !== null);
  return new Map(leaves.map(([name, leaf]) => [name, String(leaf).slice(0, 500)]));
}

/** What to keep in mind. */
export function notesOf({ value }: Evaluation): string[] {
  const { notes } = value;
  if (!Array.isArray(notes)) return [];
  return notes.slice(0, 20).map((note) => String(note).slice(0, 500));
}
