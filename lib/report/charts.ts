// Which curves of the runs share a chart, and how each is drawn.
import { formatNumber } from './format.js';
import { html, Html } from './html.js';
import type { Metrics } from './metrics.js';
import { drawPlot, smooth, type Curve, type PlotStyle } from './plot.js';
import type { ThinnedSeries } from './thinned.js';

/** A run among those compared. */
export interface ChartedRun {
  readonly label: string;
  readonly colour: string;
  readonly metrics: Metrics;
}

/** Charts under one heading. */
export interface ChartGroup {
  readonly title: string;
  readonly charts: readonly Html[];
  /** Folded away at first. */
  readonly isSecondary?: boolean;
}

/** Colours are those of the page, light or dark. */
export const inPage: PlotStyle = {
  width: 520,
  height: 300,
  ink: 'var(--ink)',
  quiet: 'var(--quiet)',
  grid: 'var(--line)',
  background: null,
  framed: false,
};

const mostCharts = 60;
/** Counters that the table of runs tells already. */
const counters = ['images', 'seconds', 'skipped', 'global_step', 'epoch'];

/** All curves of the runs: each chart shows one measurement of every run that has it. */
export function chartGroups(runs: readonly ChartedRun[]): ChartGroup[] {
  const names = [...new Set(runs.flatMap(({ metrics }) => [...metrics.series.keys()]))];
  const losses = lossNames(runs);
  // An average stands in the chart of what it is an average of.
  const isAverage = (name: string) =>
    name.startsWith('val/') && name.endsWith('_ema') && names.includes(name.slice(0, -4));
  const own = names.filter((name) => !isAverage(name) && !counters.includes(name));
  const validation = own.filter((name) => name.startsWith('val/'));
  const process = own.filter((name) =>
    /^(lr|grad_norm)\/|^images_per_second$|^loss_scale$/.test(name),
  );
  const known = new Set([...losses, ...validation, ...process]);
  const rest = own.filter((name) => !known.has(name));
  const drawn = new Set<string>();
  /** Whether these very numbers have no chart yet: without a variance to learn, one loss has two names. */
  const isNew = (name: string): boolean => {
    const numbers = JSON.stringify(
      runs.map(({ metrics: { series } }) => {
        const each = series.get(name);
        return each && [each.count, each.first, each.last, each.least, each.most];
      }),
    );
    return drawn.size < drawn.add(numbers).size;
  };
  const group = (title: string, those: readonly string[], isSecondary = false): ChartGroup => ({
    title,
    charts: those
      .filter((name) => changes(runs, name) && isNew(name))
      .slice(0, mostCharts)
      .map((name) => chart(name, runs)),
    isSecondary,
  });
  return [
    group('Training', known.size > 0 ? [...known] : rest),
    group('Further measurements', known.size > 0 ? rest : [], true),
  ].filter(({ charts }) => charts.length > 0);
}

/** The losses of the runs' phases, whose names their learning rates tell. */
export function lossNames(runs: readonly Pick<ChartedRun, 'metrics'>[]): string[] {
  const names = runs.flatMap(({ metrics: { series } }) =>
    [...series.keys()].flatMap((name) => {
      const phase = /^lr\/([^/]+)$/.exec(name)?.[1];
      const loss = `train/${phase}_loss`;
      return phase !== undefined && series.has(loss) ? [loss] : [];
    }),
  );
  return [...new Set(names)];
}

// A discriminator that has not begun is no curve.
const changes = (runs: readonly ChartedRun[], name: string): boolean =>
  runs.some(({ metrics }) => {
    const series = metrics.series.get(name);
    return series !== undefined && (series.most > series.least || series.count === 1);
  });

/** Up to this many points are measurements of their own, each with a dot. */
const few = 24;

function chart(name: string, runs: readonly ChartedRun[]): Html {
  const averaged = `${name}_ema`;
  const found = runs.flatMap(({ label, colour, metrics }) =>
    [name, ...(name.startsWith('val/') ? [averaged] : [])].flatMap((key) => {
      const series = metrics.series.get(key);
      const isAverage = key === averaged;
      return series
        ? [{ label: isAverage ? `${label}, EMA` : label, colour, series, isAverage }]
        : [];
    }),
  );
  const [least, most] = [
    Math.min(...found.map(({ series }) => series.least)),
    Math.max(...found.map(({ series }) => series.most)),
  ];
  const isLog = least > 0 && most / least >= 20 && !name.startsWith('lr/');
  const plot = {
    title: name,
    x: { label: 'step' },
    y: { label: isLog ? 'log scale' : '', scale: isLog ? 'log' : 'linear' } as const,
    curves: found.flatMap(({ label, colour, series, isAverage }) =>
      curves(label, colour, series, isAverage, name.startsWith('lr/')),
    ),
  };
  const told = found.map(({ label, series }) => {
    return `${label}: ${formatNumber(series.last![1])} at step ${formatNumber(series.last![0])}`;
  });
  const svg = drawPlot(plot, inPage, `${name} by step. ${told.join('; ')}.`);
  return chartFigure(
    name,
    svg,
    found.map(({ label, colour, series, isAverage }) => ({
      label,
      colour,
      dashed: isAverage,
      value: formatNumber(series.last![1]),
    })),
  );
}

/** A plot with its name and legend, each curve with its last value. */
export function chartFigure(
  title: string,
  svg: string | null,
  legend: readonly { label: string; colour: string; dashed?: boolean; value?: string }[],
): Html {
  return html`<figure class="chart">
    <figcaption>
      <h3>${title}</h3>
      <ul class="legend">
        ${legend.map(
          ({ label, colour, dashed, value }) =>
            html`<li>
              <i class="${dashed ? 'dash' : 'line'}" style="color:${colour}"></i>${label}
              ${value === undefined ? null : html`<b>${value}</b>`}
            </li>`,
        )}
      </ul>
    </figcaption>
    ${svg === null ? html`<p class="note">Nothing in it is a finite number.</p>` : new Html(svg)}
    <output aria-live="off"></output>
  </figure>`;
}

function curves(
  name: string,
  colour: string,
  series: ThinnedSeries,
  dashed: boolean,
  exact: boolean,
): Curve[] {
  const means = series.means();
  if (exact || means.length <= few)
    return [{ name, colour, dashed, points: means, dots: means.length <= few && !exact }];
  // The weight makes the mean of about the last twentieth of the run.
  const weight = Math.min(0.95, Math.max(0.3, 1 - 20 / means.length));
  const raw = { name, colour, points: series.extremes(), faint: true };
  return [raw, { name, colour, dashed, points: smooth(means, weight) }];
}
