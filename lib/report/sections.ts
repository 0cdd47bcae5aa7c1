// The page's sections: tables, charts and pictures of what was found.
import { chartFigure, chartGroups, inPage, lossNames, type ChartedRun } from './charts.js';
import { formatBytes, formatNumber, formatSeconds } from './format.js';
import type { Html } from './html.js';
import { html } from './html.js';
import { parseYaml, toPlain } from '../config/index.js';
import { formatScore, presentScores, protocolDifferences, scoreNames } from '../eval/index.js';
import { leavesOf } from './leaves.js';
import { drawPlot } from './plot.js';
import type { Source } from './sources.js';
import { runColour } from './style.js';
import { throughputPlot } from './throughput_plot.js';

/** A part of the page with a place in its contents. */
export interface Section {
  readonly id: string;
  readonly title: string;
  readonly body: Html;
}

/** A source and the colour that stands for it wherever it is shown. */
export type Coloured = Source & { readonly colour: string };

const swatch = ({ label, colour }: { label: string; colour: string }): Html =>
  html`<span class="swatch" style="color:${colour}"></span>${label}`;

const table = (
  head: readonly (string | Html)[],
  rows: readonly (readonly (string | Html)[])[],
  options: { note?: string; words?: boolean } = {},
): Html =>
  html`${options.note ? html`<p class="note">${options.note}</p>` : null}
    <div class="scroll" role="group" tabindex="0">
      <table class="${options.words ? 'words' : 'numbers'}">
        <thead>
          <tr>
            ${head.map((cell) => html`<th scope="col">${cell}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ([first, ...cells]) =>
              html`<tr>
                <th scope="row">${first}</th>
                ${cells.map((cell) => html`<td>${cell}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;

const trained = (sources: readonly Coloured[]) =>
  sources.flatMap((source) => (source.metrics ? [{ ...source, metrics: source.metrics }] : []));

/** How far each run came. */
export function runsSection(sources: readonly Coloured[]): Section | null {
  const runs = trained(sources);
  if (runs.length === 0) return null;
  const last = ({ metrics }: ChartedRun, name: string) => metrics.series.get(name)?.last?.[1];
  const validated = [...new Set(runs.flatMap(({ metrics }) => [...metrics.series.keys()]))]
    .filter((name) => name.startsWith('val/'))
    .slice(0, 4);
  const measured = [...lossNames(runs), ...validated];
  const number = (value: number | undefined) => (value === undefined ? '–' : formatNumber(value));
  const rows = runs.map((run) => {
    const steps = Math.max(0, ...[...run.metrics.series.values()].map(({ last: at }) => at![0]));
    const seconds = last(run, 'seconds');
    return [
      swatch(run),
      formatNumber(steps),
      number(last(run, 'images')),
      number(last(run, 'images_per_second')),
      seconds === undefined ? '–' : formatSeconds(seconds),
      ...measured.map((name) => number(last(run, name))),
    ];
  });
  const head = ['run', 'steps', 'images', 'images/s', 'time', ...measured];
  const told = runs.flatMap(({ label, metrics: { messages, damaged } }) => [
    ...messages.map(({ step, text }) => html`<p class="note">${label}, step ${step}: ${text}</p>`),
    ...(damaged > 0
      ? [
          html`<p class="note">
            ${label}: ${damaged} lines are no measurements and were left out.
          </p>`,
        ]
      : []),
  ]);
  const note = 'Last values of each run. Time is that since it was last started.';
  return { id: 'runs', title: 'Runs', body: html`${table(head, rows, { note })}${told}` };
}

/** Curves of all measurements, the runs in one chart. */
export function chartSections(sources: readonly Coloured[]): Section[] {
  return chartGroups(trained(sources)).map(({ title, charts, isSecondary }) => {
    const grid = html`<div class="charts">${charts}</div>`;
    const count = charts.length === 1 ? 'one chart' : `${charts.length} charts`;
    const body = isSecondary
      ? html`<details>
          <summary>Show ${count}</summary>
          ${grid}
        </details>`
      : grid;
    return { id: title.toLowerCase().replace(/[^a-z]+/g, '-'), title, body };
  });
}

/** Results of evaluations: a column for each, a row for each score. */
export function evaluationSection(sources: readonly Coloured[]): Section | null {
  const results = sources.flatMap((source) =>
    source.evaluations.map((evaluation) => ({
      ...evaluation,
      label: source.evaluations.length > 1 ? `${source.label}: ${evaluation.file}` : source.label,
      colour: source.colour,
    })),
  );
  if (results.length === 0) return null;
  const rows = presentScores(results.map(({ scores }) => scores)).map(([name, title]) => [
    `${title} ${scoreNames[name] === 'lower' ? '↓' : '↑'}`,
    ...results.map(({ scores }) => {
      const value = scores[name];
      return value === undefined ? '–' : formatScore(name, value);
    }),
  ]);
  const different = protocolDifferences(results.map(({ protocol }) => protocol));
  const warning =
    different.length === 0
      ? null
      : html`<p class="note">
            These results were not measured alike, so their numbers may not compare.
          </p>
          ${table(
            ['what differs', ...results.map(swatch)],
            different.map(({ field, values }) => [field, ...values]),
            { words: true },
          )}`;
  const notes = results.flatMap(({ label, notes: own }) =>
    own.map((note) => html`<p class="note">${label}: ${note}</p>`),
  );
  const protocols = results.map(
    ({ label, protocol }) =>
      html`<details>
        <summary>Protocol of ${label}</summary>
        ${table(
          ['setting', 'value'],
          leavesOf(protocol).flatMap(([name, leaf]) =>
            leaf === null ? [] : [[name, String(leaf)]],
          ),
          { words: true },
        )}
      </details>`,
  );
  return {
    id: 'evaluation',
    title: 'Evaluation',
    body: html`${table(['score', ...results.map(swatch)], rows)}${notes}${warning}${protocols}`,
  };
}

/** Samples a second against quality, and the memory that they took. */
export function throughputSection(sources: readonly Coloured[]): Section | null {
  const files = sources.flatMap(({ throughput }) =>
    throughput.map((file) => ({ name: file.model, file })),
  );
  if (files.length === 0) return null;
  const plot = throughputPlot(
    files,
    Array.from({ length: 8 }, (_, i) => runColour(i)),
  );
  const legend = plot.curves.map(({ name, colour }) => ({ label: name, colour }));
  const judged = files.some(({ file }) =>
    file.entries.some(({ quality }) => quality !== undefined),
  );
  const rows = files.flatMap(({ name, file }) =>
    file.entries.map((each) => [
      name,
      each.sampler,
      formatNumber(each.steps),
      formatNumber(each.batch),
      formatNumber(each.samplesPerSecond),
      formatBytes(each.peakBytes),
      each.residentBytes === undefined ? '–' : formatBytes(each.residentBytes),
      ...(judged ? [each.quality === undefined ? '–' : formatNumber(each.quality)] : []),
    ]),
  );
  const quality = files.find(({ file }) => file.qualityName)?.file.qualityName ?? 'quality';
  const head = ['model', 'sampler', 'steps', 'batch', 'samples/s', 'tensors', 'process'];
  // Models that were measured alike share a note.
  const alike = new Map<string, string[]>();
  for (const { name, file } of files) {
    const { machine, size, guidance, capture = true, complete } = file;
    const where =
      machine.gpu ?? `${machine.processor}, ${machine.threads} threads, ${machine.level}`;
    const how = `pictures of ${size.join(' × ')}, decoding included, guidance ${guidance}`;
    const launches = capture ? '' : ', each kernel launched by itself';
    const told = `${where}; ${how}${launches}${complete ? '' : '; interrupted'}.`;
    alike.set(told, [...(alike.get(told) ?? []), name]);
  }
  const machines = [...alike].map(
    ([told, names]) => html`<p class="note">${names.join(', ')}: ${told}</p>`,
  );
  const svg = drawPlot(plot, inPage, `${plot.title}, a curve for each sampler and batch size`);
  return {
    id: 'throughput',
    title: 'Throughput',
    body: html`<div class="beside">
        ${chartFigure(plot.title, svg, legend)}
        <div>
          ${table([...head, ...(judged ? [quality] : [])], rows, {
            note: 'Medians of repeats. Memory is that of tensors at their most, and of the process.',
          })}
        </div>
      </div>
      ${machines}`,
  };
}

const mostDifferences = 200;

/** What is not the same in all configurations; null where there is only one, or no difference. */
function differences(
  columns: readonly { label: string; colour: string; leaves: ReadonlyMap<string, string> }[],
): Html | null {
  const paths = [...new Set(columns.flatMap(({ leaves }) => [...leaves.keys()]))];
  const rows = paths
    .map((path) => [path, ...columns.map(({ leaves }) => leaves.get(path) ?? '–')])
    .filter(([, ...values]) => new Set(values).size > 1)
    .slice(0, mostDifferences);
  return rows.length === 0
    ? null
    : table(['what differs', ...columns.map(swatch)], rows, { words: true });
}

/** What differs between the runs' configurations, and each as a whole. */
export function configurationSection(sources: readonly Coloured[]): Section | null {
  const configured = sources.flatMap((source) =>
    source.config === undefined ? [] : [{ ...source, config: source.config }],
  );
  if (configured.length === 0) return null;
  const whole = configured.map(
    (source) =>
      html`<details>
        <summary>${source.label}/config.yaml</summary>
        <pre tabindex="0">${source.config}</pre>
      </details>`,
  );
  const columns = configured.map((source) => ({
    ...source,
    leaves: leavesOfYaml(source.config, source.label),
  }));
  return {
    id: 'configuration',
    title: 'Configuration',
    body: html`${differences(columns)}${whole}`,
  };
}

// One that cannot be read is shown as it stands, and compared with nothing.
function leavesOfYaml(text: string, name: string): Map<string, string> {
  try {
    const leaves = leavesOf(toPlain(parseYaml(text, name)));
    return new Map(leaves.map(([path, leaf]) => [path, String(leaf).slice(0, 300)]));
  } catch {
    return new Map();
  }
}
