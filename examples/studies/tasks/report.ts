// The study's page: for each task what was claimed, what was measured, its pictures, and the curve to expect.
import { join } from 'node:path';
import { writePlot } from '../../../lib/index.js';
import { table } from '../tables.js';
import type { Claim, Measured, TaskResult, TaskStudy, TrainingRecord } from './study.js';

export interface Row {
  readonly study: TaskStudy;
  readonly result: TaskResult;
}

/** By how much the condition beats the baseline, towards the better. */
export const lead = ({ higherIsBetter }: Claim, { value, baseline }: TaskResult): number =>
  higherIsBetter ? value - baseline : baseline - value;

export const held = ({ study, result }: Row): boolean =>
  lead(study.claim, result) >= study.claim.margin;

const number = (value: number): string =>
  Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));

const withUnit = (value: number | undefined, unit: string): string =>
  value === undefined ? '–' : `${number(value)}${unit === '%' ? ' %' : unit && ` ${unit}`}`;

export function summaryTable(rows: readonly Row[]): string {
  return table(
    ['task', 'measured', 'result', 'baseline', 'margin claimed', 'lead', 'held'],
    rows.map((row) => {
      const { title, claim } = row.study;
      const { value, baseline } = row.result;
      return [
        title,
        claim.metric,
        withUnit(value, claim.unit),
        `${withUnit(baseline, claim.unit)} (${claim.baseline})`,
        withUnit(claim.margin, claim.unit),
        withUnit(lead(claim, row.result), claim.unit),
        held(row) ? 'yes' : '**no**',
      ];
    }),
  );
}

const measuredTable = (more: readonly Measured[]): string =>
  table(
    ['measured', 'result', 'baseline'],
    more.map(({ name, value, baseline, unit }) => [
      name,
      withUnit(value, unit),
      withUnit(baseline, unit),
    ]),
  );

const trainingTable = (trainings: readonly TrainingRecord[]): string =>
  table(
    ['training', 'parameters', 'images', 'minutes', 'loss at the end'],
    trainings.map(({ name, parameters, images, seconds, curve }) => {
      const last = curve.slice(-10);
      const loss = last.reduce((sum, each) => sum + each.loss, 0) / last.length;
      const counts = [parameters, images].map((count) => count.toLocaleString('en-US'));
      return [name, ...counts, (seconds / 60).toFixed(1), loss.toFixed(4)];
    }),
  );

/** The page in Markdown, with pictures beside it in a folder for each task. */
export function page(rows: readonly Row[], settings: string): string {
  const sections = rows.map(({ study, result }) =>
    [
      `## ${study.title}`,
      ...(result.more.length > 0 ? [measuredTable(result.more)] : []),
      ...result.pictures.map(
        ({ file, caption }) => `![${caption}](${study.name}/${file})\n\n${caption}`,
      ),
      trainingTable(result.trainings),
      `![Training loss](${study.name}/curve.png)`,
    ].join('\n\n'),
  );
  return ['# Every task, in small', settings, summaryTable(rows), ...sections].join('\n\n') + '\n';
}

const colours = ['#00798c', '#d1495b', '#edae49', '#66a182', '#2e4057', '#8d6a9f'];

/** The losses of a task's trainings, against steps. */
export function writeCurves(folder: string, { study, result }: Row): Promise<void> {
  return writePlot(join(folder, study.name, 'curve.png'), {
    title: `${study.title}: the loss to expect`,
    x: { label: 'step' },
    y: { label: 'loss (mean square error)', scale: 'log' },
    curves: result.trainings.map(({ name, curve }, i) => ({
      name,
      colour: colours[i % colours.length],
      points: averaged(curve),
    })),
  });
}

// Means of about sixty spans: a single batch says little.
function averaged(curve: TrainingRecord['curve']): [number, number][] {
  const span = Math.max(1, Math.ceil(curve.length / 60));
  return Array.from({ length: Math.floor(curve.length / span) }, (_, i) => {
    const part = curve.slice(i * span, (i + 1) * span);
    const loss = part.reduce((sum, each) => sum + each.loss, 0) / span;
    return [part[part.length - 1].step, loss];
  });
}
