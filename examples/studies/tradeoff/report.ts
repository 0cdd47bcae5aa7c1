// The study's page: quality against compute and against samples per second, as in figures 6 and 7 of the paper.
import { join } from 'node:path';
import {
  throughputPlot,
  writePlot,
  writeThroughput,
  type ThroughputFile,
} from '../../../lib/index.js';
import { side } from '../../demo/emoji.js';
import { table } from '../tables.js';
import { nameOf, type Member } from './family.js';
import type { Speeds } from './speeds.js';

/** A Fréchet distance. */
export interface Measured {
  readonly steps: number;
  readonly distance: number;
}

/** What was measured of a model. */
export interface Row {
  readonly member: Member;
  /** After so many steps of the training, by a quick sampler. */
  readonly progress: readonly Measured[];
  /** At the end, by numbers of DDIM steps. */
  readonly sampled: readonly Measured[];
}

const qualityName = 'Fréchet distance';
const colours = ['#d1495b', '#edae49', '#2e8b57', '#00798c', '#5b3f8c'];

const titleOf = ({ f }: Member): string => (f === 1 ? 'f = 1 (pixels)' : `f = ${f}`);

/** Multiply-adds of the training up to a step. */
export const computeOf = ({ multiplyAdds, batch }: Member, steps: number): number =>
  3 * multiplyAdds * batch * steps;

/** What was measured as files that `emulsion report` shows, in the order of the rows. */
export async function writeMeasurements(
  folder: string,
  rows: readonly Row[],
  { machine, entries }: Speeds,
): Promise<ThroughputFile[]> {
  const files = rows.map(({ member, sampled }, i): ThroughputFile => ({
    kind: 'emulsion throughput',
    version: 1,
    model: titleOf(member),
    size: [side, side],
    parameters: member.parameters,
    guidance: 1,
    decoded: true,
    seed: 0,
    complete: true,
    qualityName,
    machine,
    entries: entries[i].map((entry, j) => ({ ...entry, quality: sampled[j].distance })),
  }));
  for (const [i, { member }] of rows.entries())
    await writeThroughput(join(folder, `throughput-${nameOf(member)}.json`), files[i]);
  return files;
}

export async function writePlots(
  folder: string,
  rows: readonly Row[],
  files: readonly ThroughputFile[],
): Promise<void> {
  await writePlot(join(folder, 'progress.png'), {
    title: 'Quality against the compute of the training',
    x: { label: '10¹² multiply-adds of the training', scale: 'log' },
    y: { label: qualityName, scale: 'log' },
    curves: rows.map(({ member, progress }, i) => ({
      name: titleOf(member),
      colour: colours[i],
      dots: true,
      points: progress.map(({ steps, distance }) => [computeOf(member, steps) / 1e12, distance]),
    })),
  });
  const named = files.map((file) => ({ name: file.model, file }));
  await writePlot(join(folder, 'throughput.png'), throughputPlot(named, colours));
}

/** The page in Markdown. @param floor the distance of held-out drawings */
export function page(
  rows: readonly Row[],
  { machine, entries }: Speeds,
  floor: number,
  settings: string,
): string {
  const steps = rows[0].sampled.map((each) => each.steps);
  const best = [...rows].sort((a, b) => least(a) - least(b))[0];
  const perSteps = steps.map((count) => `${count} steps`);
  return [
    '# Compression against quality, in small',
    settings,
    '![Quality against the compute of the training](progress.png)',
    table(
      ['model', 'parameters', 'multiply-adds of a pass', 'batch', 'steps', 'images'],
      rows.map(({ member, progress }) => {
        const { parameters, multiplyAdds, batch } = member;
        const last = progress[progress.length - 1].steps;
        const counts = [parameters, multiplyAdds, batch, last, last * batch];
        return [titleOf(member), ...counts.map((count) => count.toLocaleString('en-US'))];
      }),
    ),
    '![Quality against samples per second](throughput.png)',
    'Fréchet distances to the drawings trained on:',
    table(
      ['model', ...perSteps],
      rows.map(({ member, sampled }) => [
        titleOf(member),
        ...sampled.map(({ distance }) => distance.toFixed(2)),
      ]),
    ),
    `Drawings held out have ${floor.toFixed(2)}. Best is ${titleOf(best.member)} with ${least(best).toFixed(2)}.`,
    `Samples per second, ${entries[0][0].batch} at once, the median of ${entries[0][0].seconds.length} rounds; ` +
      `${machine.processor}, ${machine.threads} thread(s), ${machine.level}, ${machine.device}:`,
    table(
      ['model', ...perSteps],
      rows.map(({ member }, i) => [
        titleOf(member),
        ...entries[i].map(({ samplesPerSecond }) => samplesPerSecond.toPrecision(3)),
      ]),
    ),
    ...rows.map(({ member }) => `![Samples of ${titleOf(member)}](samples-${nameOf(member)}.png)`),
  ].join('\n\n');
}

const least = ({ sampled }: Row): number => Math.min(...sampled.map(({ distance }) => distance));
