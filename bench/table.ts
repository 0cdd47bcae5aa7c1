// The benchmark's result as a table and as a file.
import { writeFileSync } from 'node:fs';
import type { Machine } from './machine.js';

export interface Measurement {
  op: string;
  case: string;
  /** forward, or step: forward and backward. */
  pass: 'forward' | 'step';
  dtype: string;
  seconds: number;
  /** Half the width of the 95 % interval of `seconds`, relative to it. */
  margin: number;
  /** Floating-point operations; absent where the case does not count them. */
  flops?: number;
  /** Bytes that must move at least: each input read and each output written once. */
  bytes: number;
}

export function printMachine(machine: Machine): void {
  console.log(
    `${machine.processor}, ${machine.threads} threads, ${machine.level}, Node ${machine.node}, ` +
      `commit ${machine.commit}, ${machine.date}\n` +
      `measured peak ${(machine.peakFlops / 1e9).toFixed(1)} GFLOP/s (float32 FMA), ` +
      `bandwidth ${(machine.bandwidth / 1e9).toFixed(1)} GB/s (copy)\n`,
  );
}

const heading = ['op', 'case', 'pass', 'ms', '±%', 'GFLOP/s', '% peak', 'GB/s', '% bandwidth'];

export function printTable(measurements: readonly Measurement[], machine: Machine): void {
  const rows = measurements.map(({ op, case: name, pass, seconds, margin, flops, bytes }) => {
    const rate = flops === undefined ? undefined : flops / seconds;
    return [
      op,
      name,
      pass,
      (seconds * 1e3).toPrecision(3),
      (margin * 100).toFixed(0),
      rate === undefined ? '' : (rate / 1e9).toFixed(1),
      rate === undefined ? '' : ((100 * rate) / machine.peakFlops).toFixed(0),
      (bytes / seconds / 1e9).toFixed(1),
      ((100 * bytes) / seconds / machine.bandwidth).toFixed(0),
    ];
  });
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column].length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  for (const row of [heading, widths.map((width) => '-'.repeat(width)), ...rows])
    console.log(line(row));
}

export function writeResults(
  file: string,
  machine: Machine,
  measurements: readonly Measurement[],
): void {
  writeFileSync(file, JSON.stringify({ machine, measurements }, null, 2) + '\n');
  console.log(`\nwritten to ${file}`);
}
