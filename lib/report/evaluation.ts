// Results of evaluations as a report shows them: their numbers by name, whatever else a file holds.
import { isObject, leavesOf, type JsonObject } from './json.js';

/** A result file. */
export interface Evaluation {
  /** of the file */
  readonly name: string;
  readonly value: JsonObject;
}

const resultsOf = (value: JsonObject): unknown => value.results ?? value.metrics;

/** Whether a file's value is a result: numbers under `results` or `metrics`, what was done under `protocol`. */
export function isEvaluation(value: unknown): value is JsonObject {
  return isObject(value) && isObject(value.protocol) && isObject(resultsOf(value));
}

/** The numbers of an evaluation by the path of their names, `fid` or `precision_recall.precision`. */
export function measuresOf({ value }: Evaluation): [name: string, value: number][] {
  return leavesOf(resultsOf(value), 500).flatMap(([name, leaf]) =>
    typeof leaf === 'number' ? [[name, leaf] as [string, number]] : [],
  );
}

/** What was done, as names and values. */
export function protocolOf({ value }: Evaluation): [name: string, value: string][] {
  return leavesOf(value.protocol, 100)
    .filter(([, leaf]) => leaf !== null)
    .map(([name, leaf]) => [name, String(leaf).slice(0, 500)]);
}
