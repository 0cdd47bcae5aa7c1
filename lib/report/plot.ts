// Line plots as SVG, in files of their own or inside a page.
import { extname } from 'node:path';
import sharp from 'sharp';
import { ArgumentError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { escapeHtml } from './html.js';
import { scaleOf, type Axis } from './scale.js';

export type Point = readonly [x: number, y: number];

export interface Curve {
  readonly name: string;
  /** Any colour of CSS. */
  readonly colour: string;
  readonly points: readonly Point[];
  /** A dot at every point: for few measurements. Default false. */
  readonly dots?: boolean;
  readonly dashed?: boolean;
  /** Said beside each dot. Default: nothing. */
  readonly labels?: readonly string[];
  /** Thin and pale, without a place in the legend: what lies behind a smoothed curve. Default false. */
  readonly faint?: boolean;
}

export interface Plot {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly curves: readonly Curve[];
}

/** How a plot looks. Colours are any of CSS. */
export interface PlotStyle {
  readonly width: number;
  readonly height: number;
  readonly ink: string;
  readonly quiet: string;
  readonly grid: string;
  /** null: what lies behind shows. */
  readonly background: string | null;
  /** Title and legend are part of the picture, not of the page around it. */
  readonly framed: boolean;
}

/** Of plots in files of their own. */
const paper: PlotStyle = {
  width: 900,
  height: 480,
  ink: '#1b1f24',
  quiet: '#57606a',
  grid: '#e4e4e4',
  background: '#ffffff',
  framed: true,
};

const letter = 7; // about the width of one at 13 pixels
const legendRow = 20;

/**
 * Draws a plot as an SVG element; each curve is a `g` with its values for those who look closer
 * (`data-name`, `data-x`, `data-y`).
 * @param described what the picture says to those who cannot see it. Default: the title
 * @returns null when there is no point to show
 */
export function drawPlot(
  { title, x, y, curves }: Plot,
  style: PlotStyle = paper,
  described = title,
): string | null {
  const isShown = ([px, py]: Point): boolean =>
    Number.isFinite(px) &&
    Number.isFinite(py) &&
    (x.scale !== 'log' || px > 0) &&
    (y.scale !== 'log' || py > 0);
  const shown = curves.map((curve) => ({
    curve,
    // with their labels, which must not move to other points
    points: curve.points.flatMap((point, i) => (isShown(point) ? [{ point, i }] : [])),
  }));
  const all = shown.flatMap(({ points }) => points.map(({ point }) => point));
  if (all.length === 0) return null;
  const across = scaleOf(
    x,
    all.map(([px]) => px),
  );
  const up = scaleOf(
    y,
    all.map(([, py]) => py),
  );
  const { width, height, framed } = style;
  const legend = framed
    ? legendOf(
        curves.filter((curve) => !curve.faint),
        style,
      )
    : { rows: 0, svg: '' };
  // Labels stand above and to the right of their dots.
  const more = curves.some(({ labels }) => labels) ? 16 : 0;
  const [left, right] = [framed ? 80 : 56, (framed ? 32 : 16) + more];
  const [top, bottom] = [(framed ? 40 + legend.rows * legendRow : 12) + more / 2, framed ? 56 : 44];
  const px = (value: number): number => left + across.share(value) * (width - left - right);
  const py = (value: number): number => height - bottom - up.share(value) * (height - top - bottom);

  const text = (at: string, what: string, anchor: string, fill = style.quiet) =>
    `<text ${at} text-anchor="${anchor}" fill="${fill}">${escapeHtml(what)}</text>`;
  const marks = [
    ...across.ticks.map((tick) => {
      const at = px(tick).toFixed(1);
      return (
        `<line x1="${at}" x2="${at}" y1="${top}" y2="${height - bottom}" stroke="${style.grid}"/>` +
        text(`x="${at}" y="${height - bottom + 18}"`, across.label(tick), 'middle')
      );
    }),
    ...up.ticks.map((tick) => {
      const at = py(tick);
      return (
        `<line x1="${left}" x2="${width - right}" y1="${at.toFixed(1)}" y2="${at.toFixed(1)}" stroke="${style.grid}"/>` +
        text(`x="${left - 8}" y="${(at + 4).toFixed(1)}"`, up.label(tick), 'end')
      );
    }),
  ];
  const lines = shown.map(({ curve, points }) => {
    const places = points.map(({ point: [a, b] }) => [px(a).toFixed(1), py(b).toFixed(1)]);
    const labels = points.flatMap(({ i }, at) => {
      const label = curve.labels?.[i];
      const [cx, cy] = places[at].map(Number);
      return label === undefined
        ? []
        : [text(`x="${cx + 7}" y="${cy - 6}" font-size="11"`, label, 'start')];
    });
    return drawCurve(
      curve,
      points.map(({ point }) => point),
      places,
    ).concat(labels.join(''));
  });
  const middle = (top + height - bottom) / 2;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `${framed ? `width="${width}" height="${height}" ` : ''}font-family="system-ui, sans-serif" font-size="13" ` +
    `role="img" aria-label="${escapeHtml(described)}">` +
    (style.background ? `<rect width="100%" height="100%" fill="${style.background}"/>` : '') +
    (framed
      ? `<text x="${left}" y="24" font-size="16" font-weight="bold" fill="${style.ink}">${escapeHtml(title)}</text>`
      : '') +
    `${marks.join('')}${lines.join('')}${legend.svg}` +
    text(`x="${(left + width - right) / 2}" y="${height - 8}"`, x.label, 'middle') +
    text(`transform="translate(14 ${middle}) rotate(-90)"`, y.label, 'middle') +
    '</svg>'
  );
}

function drawCurve(
  { name, colour, dots, dashed, faint }: Curve,
  points: readonly Point[],
  places: readonly (readonly string[])[],
): string {
  const stroke = faint ? 'stroke-width="1" opacity="0.45"' : 'stroke-width="2"';
  const line =
    `<polyline points="${places.map((p) => p.join()).join(' ')}" stroke="${colour}" fill="none" ` +
    `stroke-linejoin="round" ${stroke}${dashed ? ' stroke-dasharray="6 4"' : ''}/>`;
  if (faint) return line;
  const values = (axis: 0 | 1) => points.map((p) => Number(p[axis].toPrecision(5))).join(' ');
  const circles = dots
    ? places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="4" fill="${colour}"/>`).join('')
    : '';
  return `<g data-name="${escapeHtml(name)}" data-x="${values(0)}" data-y="${values(1)}">${line}${circles}</g>`;
}

/** Names in rows below the title, as many in each as fit. */
function legendOf(
  curves: readonly Curve[],
  { width, ink }: PlotStyle,
): { rows: number; svg: string } {
  const start = 90;
  let [x, rows] = [start, 1];
  const entries = curves.map(({ name, colour, dashed }) => {
    const long = 44 + letter * name.length;
    if (x > start && x + long > width) [x, rows] = [start, rows + 1];
    const y = 24 + rows * legendRow;
    const dash = dashed ? ' stroke-dasharray="5 3"' : '';
    const entry =
      `<line x1="${x}" x2="${x + 18}" y1="${y - 4}" y2="${y - 4}" stroke="${colour}" stroke-width="3"${dash}/>` +
      `<text x="${x + 24}" y="${y}" fill="${ink}">${escapeHtml(name)}</text>`;
    x += long;
    return entry;
  });
  return { rows, svg: entries.join('') };
}

/** Running mean with the given weight of the past, so that the trend shows through the noise. */
export function smooth(points: readonly Point[], weight: number): [number, number][] {
  let mean = 0;
  let total = 0;
  return points.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return [x, mean / total];
  });
}

/**
 * Draws a plot into a file, PNG or SVG by its name. Without a point to show nothing is written.
 * @throws ArgumentError for another kind of file
 */
export async function writePlot(path: string, plot: Plot): Promise<void> {
  const kind = extname(path).toLowerCase();
  if (kind !== '.png' && kind !== '.svg')
    throw new ArgumentError(`writePlot: expected a file .png or .svg. Got ${path}.`);
  const svg = drawPlot(plot);
  if (svg === null) return;
  await writeFileAtomic(
    path,
    kind === '.svg' ? svg : await sharp(Buffer.from(svg)).png().toBuffer(),
  );
}
