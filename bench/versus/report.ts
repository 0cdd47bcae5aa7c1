// The comparison as lines, as a verdict per group, and as a file.
import { writeFileAtomic } from '../../lib/io/index.js';
import type { Machine } from '../machine.js';
import type { Goals, VersusCase } from './cases.js';
import type { Comparison } from './compare.js';

// Products live off the peak; their bytes say nothing.
const peakShare = ({ work, share }: Comparison): number | undefined =>
  work.flops === undefined ? undefined : share;
const bandwidthShare = ({ work, share }: Comparison): number | undefined =>
  work.flops === undefined ? share : undefined;

const percent = (value: number | undefined): string =>
  value === undefined ? '' : `${(100 * value).toFixed(0)} %`;
const milliseconds = (seconds: number): string => (1000 * seconds).toPrecision(3);

export function printRow(row: Comparison): void {
  const { work, seconds, ratio, error, peakMib } = row;
  const parts = [
    work.name.padEnd(46),
    `${milliseconds(seconds.ours).padStart(9)} ms`,
    `theirs ${milliseconds(seconds.theirs).padStart(9)} ms`,
    `ratio ${ratio.toFixed(2)}`,
    percent(peakShare(row)) && `${percent(peakShare(row))} of peak`,
    percent(bandwidthShare(row)) && `${percent(bandwidthShare(row))} of bandwidth`,
    error && `error ${error.ours.toExponential(1)} theirs ${error.theirs.toExponential(1)}`,
    peakMib && `peak ${peakMib.ours.toFixed(0)} MiB theirs ${peakMib.theirs.toFixed(0)}`,
  ];
  console.log(parts.filter(Boolean).join('  '));
}

/** Geometric means per group, beside the goals. */
export function printSummary(rows: readonly Comparison[], goals: Goals): void {
  console.log(
    '\ngeometric means by group (goal): ratio of times, share of peak, share of bandwidth',
  );
  for (const group of new Set(rows.map(({ work }) => work.group))) {
    const members = rows.filter(({ work }) => work.group === group);
    const goal = goals[group] ?? {};
    const mean = (of: (row: Comparison) => number | undefined): number | undefined =>
      geometricMean(members.map(of).filter((value) => value !== undefined));
    const ratio = mean((row) => row.ratio)!;
    const worst = members.reduce((a, b) => (a.ratio > b.ratio ? a : b));
    const peak = mean(peakShare);
    const bandwidth = mean(bandwidthShare);
    const wanted = (text: string, value: number | undefined): string =>
      value === undefined
        ? text
        : `${text} (${text.includes('%') ? percent(value) : value.toFixed(2)})`;
    console.log(
      [
        group.padEnd(24),
        wanted(ratio.toFixed(2), goal.ratio),
        peak !== undefined && wanted(percent(peak), goal.peakShare),
        bandwidth !== undefined && wanted(percent(bandwidth), goal.bandwidthShare),
        goal.memory && memoryVerdict(members),
        members.length > 1 && `worst ${worst.ratio.toFixed(2)}: ${worst.work.name}`,
      ]
        .filter(Boolean)
        .join('  '),
    );
  }
}

function memoryVerdict(members: readonly Comparison[]): string {
  const peaks = members.map((row) => row.peakMib).filter((peak) => peak !== undefined);
  const worst = Math.max(...peaks.map(({ ours, theirs }) => ours / theirs));
  return `peak memory ${worst.toFixed(2)} (1.00)`;
}

function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

export async function writeRows(
  file: string,
  rows: readonly Comparison[],
  { machine, pytorch, goals }: { machine: Machine; pytorch: string; goals: Goals },
): Promise<void> {
  const goalOf = ({ group }: VersusCase): number | null => goals[group]?.ratio ?? null;
  const table = rows.map((row) => ({
    name: row.work.name,
    group: row.work.group,
    ours_ms: 1000 * row.seconds.ours,
    theirs_ms: 1000 * row.seconds.theirs,
    ratio: row.ratio,
    goal: goalOf(row.work),
    peak_share: peakShare(row) ?? null,
    bandwidth_share: bandwidthShare(row) ?? null,
    peak_mib: row.peakMib?.ours ?? null,
    theirs_peak_mib: row.peakMib?.theirs ?? null,
    error: row.error?.ours ?? null,
    theirs_error: row.error?.theirs ?? null,
  }));
  await writeFileAtomic(file, `${JSON.stringify({ machine, pytorch, rows: table }, null, 2)}\n`);
}
