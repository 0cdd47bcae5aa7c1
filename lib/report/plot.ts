// Line plots as SVG, in files of their own or inside a page.
import { extname } from 'node:path';
import sharp from 'sharp';
import { ArgumentError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { escapeHtml } from './html.js';
import { scaleOf, type Axis, type Scale } from './scale.js';

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

/** Where values stand in the picture. */
interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly across: Scale;
  readonly up: Scale;
  px(value: number): number;
  py(value: number): number;
}

/**
 * Draws a plot as an SVG element; each curve is a `g` with its values for those who look closer
 * (`data-name`, `data-x`, `data-y`).
 * @param described what the picture says to those who cannot see it. Default: the title
 * @returns null when there is no point to show
 */
export function drawPlot(
  plot: Plot,
  style: PlotStyle = paper,
  described = plot.title,
): string | null {
  const { title, x, y, curves } = plot;
  const isShown = ([px, py]: Point): boolean =>
    Number.isFinite(px) &&
    Number.isFinite(py) &&
    (x.scale !== 'log' || px > 0) &&
    (y.scale !== 'log' || py > 0);
  const shown = curves.map((curve) => {
    const kept = curve.points.flatMap((point, i) => (isShown(point) ? [i] : []));
    const points = kept.map((i) => curve.points[i]);
    return { ...curve, points, labels: curve.labels && kept.map((i) => curve.labels![i]) };
  });
  const all = shown.flatMap(({ points }) => points);
  if (all.length === 0) return null;
  const { width, height, framed, background, ink } = style;
  const legend = framed ? legendOf(curves, style) : { rows: 0, svg: '' };
  const frame = frameOf(plot, all, style, legend.rows);
  const { left, right, top, bottom } = frame;
  const middle = (top + bottom) / 2;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `${framed ? `width="${width}" height="${height}" ` : ''}font-family="system-ui, sans-serif" font-size="13" ` +
    `role="img" aria-label="${escapeHtml(described)}">` +
    (background ? `<rect width="100%" height="100%" fill="${background}"/>` : '') +
    (framed
      ? `<text x="${left}" y="24" font-size="16" font-weight="bold" fill="${ink}">${escapeHtml(title)}</text>`
      : '') +
    drawGrid(frame, style) +
    shown.map((curve) => drawCurve(curve, frame, style)).join('') +
    legend.svg +
    text(`x="${(left + right) / 2}" y="${height - 8}"`, x.label, 'middle', style) +
    text(`transform="translate(14 ${middle}) rotate(-90)"`, y.label, 'middle', style) +
    '</svg>'
  );
}

function frameOf(
  { x, y, curves }: Plot,
  points: readonly Point[],
  { width, height, framed }: PlotStyle,
  legendRows: number,
): Frame {
  const across = scaleOf(
    x,
    points.map(([px]) => px),
  );
  const up = scaleOf(
    y,
    points.map(([, py]) => py),
  );
  // Labels stand above and to the right of their dots.
  const more = curves.some(({ labels }) => labels) ? 16 : 0;
  const [left, right] = [framed ? 80 : 56, width - (framed ? 32 : 16) - more];
  const top = (framed ? 40 + legendRows * legendRow : 12) + more / 2;
  const bottom = height - (framed ? 56 : 44);
  return {
    ...{ left, right, top, bottom, across, up },
    px: (value) => left + across.share(value) * (right - left),
    py: (value) => bottom - up.share(value) * (bottom - top),
  };
}

const text = (at: string, what: string, anchor: string, { quiet }: PlotStyle): string =>
  `<text ${at} text-anchor="${anchor}" fill="${quiet}">${escapeHtml(what)}</text>`;

function drawGrid(
  { left, right, top, bottom, across, up, px, py }: Frame,
  style: PlotStyle,
): string {
  const columns = across.ticks.map((tick) => {
    const at = px(tick).toFixed(1);
    const line = `<line x1="${at}" x2="${at}" y1="${top}" y2="${bottom}" stroke="${style.grid}"/>`;
    return line + text(`x="${at}" y="${bottom + 18}"`, across.label(tick), 'middle', style);
  });
  const rows = up.ticks.map((tick) => {
    const at = py(tick);
    const y = at.toFixed(1);
    const line = `<line x1="${left}" x2="${right}" y1="${y}" y2="${y}" stroke="${style.grid}"/>`;
    const label = `x="${left - 8}" y="${(at + 4).toFixed(1)}"`;
    return line + text(label, up.label(tick), 'end', style);
  });
  return [...columns, ...rows].join('');
}

function drawCurve(curve: Curve, { px, py }: Frame, style: PlotStyle): string {
  const { name, colour, points, dots, dashed, labels, faint } = curve;
  const places = points.map(([x, y]) => [px(x).toFixed(1), py(y).toFixed(1)]);
  const stroke = faint ? 'stroke-width="1" opacity="0.45"' : 'stroke-width="2"';
  const line =
    `<polyline points="${places.map((p) => p.join()).join(' ')}" stroke="${colour}" fill="none" ` +
    `stroke-linejoin="round" ${stroke}${dashed ? ' stroke-dasharray="6 4"' : ''}/>`;
  if (faint) return line;
  const values = (axis: 0 | 1, digits: number) =>
    points.map((p) => Number(p[axis].toPrecision(digits))).join(' ');
  const circles = dots
    ? places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="4" fill="${colour}"/>`)
    : [];
  const said = labels?.map((label, i) => {
    const [cx, cy] = places[i].map(Number);
    return text(`x="${cx + 7}" y="${cy - 6}" font-size="11"`, label, 'start', style);
  });
  return (
    `<g data-name="${escapeHtml(name)}" data-x="${values(0, 9)}" data-y="${values(1, 5)}">` +
    `${line}${circles.join('')}${said?.join('') ?? ''}</g>`
  );
}

/** Names in rows below the title, as many in each as fit. */
function legendOf(
  curves: readonly Curve[],
  { width, ink }: PlotStyle,
): { rows: number; svg: string } {
  const start = 90;
  let [x, rows] = [start, 1];
  const named = curves.filter(({ faint }) => !faint);
  const entries = named.map(({ name, colour, dashed }) => {
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
