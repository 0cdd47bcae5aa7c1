// One case on both sides, in turns, so that a machine that slows down slows both.
import { setTimeout } from 'node:timers/promises';
import { operationsOf, type VersusCase } from './cases.js';
import type { Side } from './side.js';

export interface Comparison {
  work: VersusCase;
  /** Medians over the rounds, in seconds of one operation. */
  seconds: { ours: number; theirs: number };
  /** Median of the rounds' ratios, ours over theirs. */
  ratio: number;
  /** Our share of the machine's limit, which is measured in every round: the median of the rounds. */
  share?: number;
  /** Relative errors in float32. */
  error?: { ours: number; theirs: number };
  peakMib?: { ours: number; theirs: number };
}

/**
 * A sample repeats the work until it is long against the cost of asking for it. Those of networks are longer: a
 * training's steps follow each other, and the first after a turn of the other side finds cold caches.
 */
const sampleSeconds = ({ fresh }: VersusCase): number => (fresh ? 0.3 : 0.03);
/** Both sides have compiled and cached what they will by then: a network's first steps take twice as long. */
const warmUpSeconds = 1;
const rounds = { least: 3, most: 9 };
const roundsSeconds = ({ fresh }: VersusCase): number => (fresh ? 6 : 2);

/** What bounds a piece of work: how much of it there is in one run, and what the machine can do in a second. */
export interface Limit {
  amount: number;
  perSecond: () => Promise<number>;
}

export interface CompareOptions {
  limit?: Limit;
  /**
   * Before each turn: threads of the side that had its turn may still be waiting for more work, busily.
   * Default 50.
   */
  settleMilliseconds?: number;
}

export async function compare(
  work: VersusCase,
  { ours, theirs }: { ours: Side; theirs: Side },
  { limit, settleMilliseconds = 50 }: CompareOptions = {},
): Promise<Comparison> {
  const counts = { ours: await warmUp(ours, work), theirs: await warmUp(theirs, work) };
  const samples: { ours: number; theirs: number; limit?: number }[] = [];
  const start = performance.now();
  const enough = (): boolean =>
    samples.length >= rounds.most ||
    (samples.length >= rounds.least && performance.now() - start > 1000 * roundsSeconds(work));
  while (!enough())
    samples.push({
      ours: await turn(ours, counts.ours, settleMilliseconds),
      theirs: await turn(theirs, counts.theirs, settleMilliseconds),
      limit: limit && (await limitNow(limit, settleMilliseconds)),
    });

  const each = operationsOf(work);
  const comparison: Comparison = {
    work,
    seconds: {
      ours: median(samples.map((sample) => sample.ours)) / each,
      theirs: median(samples.map((sample) => sample.theirs)) / each,
    },
    ratio: median(samples.map((sample) => sample.ours / sample.theirs)),
    share: limit && median(samples.map((sample) => limit.amount / sample.ours / sample.limit!)),
  };
  if (work.error) {
    const { kind, args } = work;
    comparison.error = {
      ours: await ours.error({ kind, args }),
      theirs: await theirs.error({ kind, args }),
    };
  }
  return comparison;
}

async function limitNow(limit: Limit, settleMilliseconds: number): Promise<number> {
  await setTimeout(settleMilliseconds);
  return limit.perSecond();
}

async function turn(side: Side, count: number, settleMilliseconds: number): Promise<number> {
  await setTimeout(settleMilliseconds);
  return side.run(count);
}

// Builds the work, runs it at least twice (the first touches memory), and tells how often it fits in a sample.
async function warmUp(side: Side, work: VersusCase): Promise<number> {
  const { kind, args, sets } = work;
  await side.prepare({ kind, args, sets });
  const start = performance.now();
  const first = await side.run(1);
  const count = Math.max(1, Math.round(sampleSeconds(work) / first));
  let seconds: number;
  do seconds = await side.run(count);
  while (performance.now() - start < 1000 * warmUpSeconds);
  return Math.max(1, Math.round(sampleSeconds(work) / seconds));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
