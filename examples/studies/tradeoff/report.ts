// The study's page: quality against compute and against samples per second, as in figures 6 and 7 of the paper.
import { join } from 'node:path';
import {
  defaultDevice,
  describeMachine,
  median,
  throughputPlot,
  writePlot,
  writeThroughput,
  type ThroughputFile,
} from '../../../lib/index.js';
import { side } from '../../demo/emoji.js';
import { table } from '../tables.js';
import type { Member } from './family.js';
import { group, type Sampled } from './quality.js';

/** What was measured of a model. */
export interface Row {
  readonly member: Member;
  readonly parameters: number;
  /** After so many steps of the training, by a quick sampler. */
  readonly progress: readonly { steps: number; distance: number }[];
  /** At the end, by numbers of DDIM steps. */
  readonly sampled: readonly (Sampled & { steps: number })[];
}

const qualityName = 'Fréchet distance';
const colours = ['#d1495b', '#edae49', '#2e8b57', '#00798c', '#5b3f8c'];

const nameOf = ({ f }: Member): string => (f === 1 ? 'f = 1 (pixels)' : `f = ${f}`);

/** Multiply-adds of the training up to a step. */
export const computeOf = ({ multiplyAdds, batch }: Member, steps: number): number =>
  3 * multiplyAdds * batch * steps;

/** Measurements as files that `emulsion report` shows. */
export async function writeMeasurements(folder: string, row: Row): Promise<ThroughputFile> {
  const file: ThroughputFile = {
    kind: 'emulsion throughput',
    version: 1,
    model: nameOf(row.member),
    size: [side, side],
    parameters: row.parameters,
    guidance: 1,
    decoded: true,
    seed: 0,
    complete: true,
    qualityName,
    machine: describeMachine(defaultDevice()),
    entries: row.sampled.map(({ steps, distance, seconds, peakBytes }) => ({
      sampler: 'ddim',
      steps,
      batch: group,
      seconds: [...seconds],
      samplesPerSecond: group / median(seconds),
      peakBytes,
      quality: distance,
    })),
  };
  await writeThroughput(join(folder, `throughput-f${row.member.f}.json`), file);
  return file;
}

export async function writePlots(
  folder: string,
  rows: readonly Row[],
  files: readonly ThroughputFile[],
): Promise<void> {
  await writePlot(join(folder, 'progress.png'), {
    title: 'Quality against the compute of the training',
    x: { label: 'multiply-adds of the training', scale: 'log' },
    y: { label: qualityName, scale: 'log' },
    curves: rows.map(({ member, progress }, i) => ({
      name: nameOf(member),
      colour: colours[i],
      dots: true,
      points: progress.map(({ steps, distance }) => [computeOf(member, steps), distance]),
    })),
  });
  const named = files.map((file) => ({ name: file.model, file }));
  await writePlot(join(folder, 'throughput.png'), throughputPlot(named, colours));
}

/** The page in Markdown. @param floor the distance of held-out drawings */
export function page(rows: readonly Row[], floor: number, settings: string): string {
  const steps = rows[0].sampled.map((each) => each.steps);
  const middle = steps.length >> 1;
  const best = [...rows].sort((a, b) => least(a) - least(b))[0];
  return [
    '# Compression against quality, in small',
    settings,
    '![Quality against the compute of the training](progress.png)',
    table(
      ['model', 'parameters', 'multiply-adds of a pass', 'batch', 'steps', 'images'],
      rows.map(({ member, parameters, progress }) => {
        const last = progress[progress.length - 1].steps;
        const counts = [parameters, member.multiplyAdds, member.batch, last, last * member.batch];
        return [nameOf(member), ...counts.map((count) => count.toLocaleString('en-US'))];
      }),
    ),
    '![Quality against samples per second](throughput.png)',
    table(
      ['model', ...steps.map((count) => `${count} steps`), `samples/s with ${steps[middle]} steps`],
      rows.map(({ member, sampled }) => {
        const distances = sampled.map(({ distance }) => distance.toFixed(2));
        return [
          nameOf(member),
          ...distances,
          (group / median(sampled[middle].seconds)).toPrecision(3),
        ];
      }),
    ),
    `Fréchet distances to the drawings trained on; drawings held out have ${floor.toFixed(2)}. ` +
      `Best is ${nameOf(best.member)} with ${least(best).toFixed(2)}.`,
    ...rows.map(({ member }) => `![Samples of ${nameOf(member)}](samples-f${member.f}.png)`),
  ].join('\n\n');
}

const least = ({ sampled }: Row): number => Math.min(...sampled.map(({ distance }) => distance));
