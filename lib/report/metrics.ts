// The measurements of a run, read as a stream: memory depends on the number of curves, not of lines.
import { createReadStream } from 'node:fs';
import { fileError } from '../io/file_error.js';
import { ThinnedSeries } from './thinned.js';

/** What a file of measurements holds. */
export interface Metrics {
  /** By name, as `train/loss`; x is the step. */
  readonly series: ReadonlyMap<string, ThinnedSeries>;
  /** What the run told, its first lines. */
  readonly messages: readonly { step: number; text: string }[];
  /** Lines that are no measurement: torn by a kill, or not of a run. */
  readonly damaged: number;
}

const longestLine = 1 << 20;
const longestName = 200;
const mostSeries = 300;
const mostMessages = 20;
const longestMessage = 500;

/**
 * Reads JSONL as the trainer writes it: `step` and numbers by name in each line.
 * @param spans that each series keeps at most, an even number. Default 400
 * @throws FileError when the file cannot be read
 */
export async function readMetrics(path: string, spans?: number): Promise<Metrics> {
  const series = new Map<string, ThinnedSeries>();
  const messages: { step: number; text: string }[] = [];
  let damaged = 0;
  for await (const line of linesOf(path)) {
    if (line === '') continue;
    const found = measurement(line);
    if (!found) {
      damaged += 1;
      continue;
    }
    const { step, ...values } = found;
    for (const [name, value] of Object.entries(values)) {
      if (name === 'text' && typeof value === 'string') {
        if (messages.length < mostMessages)
          messages.push({ step, text: value.slice(0, longestMessage) });
      } else if (typeof value === 'number') {
        const known = series.get(name);
        if (known) known.add(step, value);
        else if (series.size < mostSeries && name.length <= longestName) {
          const begun = new ThinnedSeries(spans);
          begun.add(step, value);
          series.set(name, begun);
        }
      }
    }
  }
  return { series, messages, damaged };
}

function measurement(line: string | null): ({ step: number } & Record<string, unknown>) | null {
  if (line === null) return null;
  try {
    const value = JSON.parse(line) as { step?: unknown } | null;
    return typeof value?.step === 'number' ? { ...value, step: value.step } : null;
  } catch {
    return null;
  }
}

/** Lines of a file; null for one that is too long, which is not kept. */
async function* linesOf(path: string): AsyncGenerator<string | null> {
  let pending = '';
  let isTooLong = false;
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8' })) {
      const pieces = (chunk as string).split('\n');
      const rest = pieces.pop()!;
      for (const piece of pieces) {
        yield isTooLong ? null : pending + piece;
        [pending, isTooLong] = ['', false];
      }
      if (!isTooLong) pending += rest;
      if (pending.length > longestLine) [pending, isTooLong] = ['', true];
    }
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  }
  if (isTooLong || pending !== '') yield isTooLong ? null : pending;
}
