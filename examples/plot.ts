// Line plots as PNG, for the demo and the studies.
import sharp from 'sharp';
import { writeFileAtomic } from '../lib/io/atomic.js';

type Point = readonly [x: number, y: number];

export interface Curve {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly Point[];
  /** A dot at every point: for few measurements. Default false. */
  readonly dots?: boolean;
  readonly dashed?: boolean;
}

export interface Axis {
  readonly label: string;
  /** Default linear. Points that a logarithm cannot show are left out. */
  readonly scale?: 'linear' | 'log';
  /** Where the labels stand. Default: round numbers. */
  readonly ticks?: readonly number[];
}

export interface Plot {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly curves: readonly Curve[];
}

const size = { width: 900, height: 480, left: 80, right: 24, top: 56, bottom: 56 };

const escape = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

// 1, 2 or 5 times a power of ten, at most about five steps over the range.
function niceStep(range: number): number {
  const raw = range / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10) * power;
}

/** An axis laid over the values that it must hold. */
interface Scale {
  ticks: readonly number[];
  /** 0 at the lower end, 1 at the upper. */
  share(value: number): number;
}

function linearScale(values: readonly number[], ticks: Axis['ticks']): Scale {
  const [least, most] = [
    Math.min(...values, ...(ticks ?? [])),
    Math.max(...values, ...(ticks ?? [])),
  ];
  const step = niceStep(most - least || 1);
  const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step || step];
  const count = Math.round((high - low) / step);
  return {
    ticks: ticks ?? Array.from({ length: count + 1 }, (_, i) => low + i * step),
    share: (value) => (value - low) / (high - low),
  };
}

function logScale(values: readonly number[], ticks: Axis['ticks']): Scale {
  const all = [...values, ...(ticks ?? [])].map((value) => Math.log10(value));
  const low = ticks ? Math.min(...all) : Math.floor(Math.min(...all) * 4) / 4;
  const high = Math.max(low + 0.25, ticks ? Math.max(...all) : Math.ceil(Math.max(...all) * 4) / 4);
  const count = Math.round((high - low) * 4);
  return {
    ticks: ticks ?? Array.from({ length: count + 1 }, (_, i) => 10 ** (low + i / 4)),
    share: (value) => (Math.log10(value) - low) / (high - low),
  };
}

const scaleOf = (axis: Axis, values: readonly number[]): Scale =>
  (axis.scale === 'log' ? logScale : linearScale)(values, axis.ticks);

const label = (value: number): string =>
  Math.abs(value) >= 100
    ? Math.round(value).toLocaleString('en-US')
    : String(Number(value.toPrecision(2)));

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

/** Draws the curves and writes the picture. Without a point to show nothing is written. */
export async function writePlot(path: string, { title, x, y, curves }: Plot): Promise<void> {
  const { width, height, left, right, top, bottom } = size;
  const shown = ([px, py]: Point): boolean =>
    Number.isFinite(px) &&
    Number.isFinite(py) &&
    (x.scale !== 'log' || px > 0) &&
    (y.scale !== 'log' || py > 0);
  const all = curves.flatMap((curve) => curve.points).filter(shown);
  if (all.length === 0) return;
  const [across, up] = [
    scaleOf(
      x,
      all.map(([px]) => px),
    ),
    scaleOf(
      y,
      all.map(([, py]) => py),
    ),
  ];
  const px = (value: number): number => left + across.share(value) * (width - left - right);
  const py = (value: number): number => height - bottom - up.share(value) * (height - top - bottom);

  const marks = [
    ...across.ticks.map(
      (tick) =>
        `<line x1="${px(tick)}" x2="${px(tick)}" y1="${top}" y2="${height - bottom}" class="grid"/>` +
        `<text x="${px(tick)}" y="${height - bottom + 20}" text-anchor="middle">${label(tick)}</text>`,
    ),
    ...up.ticks.map(
      (tick) =>
        `<line x1="${left}" x2="${width - right}" y1="${py(tick)}" y2="${py(tick)}" class="grid"/>` +
        `<text x="${left - 8}" y="${py(tick) + 4}" text-anchor="end">${label(tick)}</text>`,
    ),
  ];
  const lines = curves.map(({ colour, points, dots, dashed }) => {
    const places = points.filter(shown).map(([a, b]) => [px(a).toFixed(1), py(b).toFixed(1)]);
    const line = `<polyline points="${places.map((p) => p.join()).join(' ')}" stroke="${colour}" fill="none" stroke-width="2"${dashed ? ' stroke-dasharray="6 4"' : ''}/>`;
    const circles = places.map(
      ([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="4" fill="${colour}"/>`,
    );
    return dots ? line + circles.join('') : line;
  });
  const legend = curves.map(
    ({ name, colour }, i) =>
      `<rect x="${left + 10 + i * 190}" y="38" width="12" height="4" fill="${colour}"/>` +
      `<text x="${left + 28 + i * 190}" y="44">${escape(name)}</text>`,
  );
  const middle = (top + height - bottom) / 2;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="13">` +
    `<style>.grid{stroke:#e4e4e4}</style><rect width="100%" height="100%" fill="white"/>` +
    `<text x="${left}" y="22" font-size="16" font-weight="bold">${escape(title)}</text>` +
    `${marks.join('')}${lines.join('')}${legend.join('')}` +
    `<text x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">${escape(x.label)}</text>` +
    `<text transform="translate(18 ${middle}) rotate(-90)" text-anchor="middle">${escape(y.label)}</text></svg>`;
  await writeFileAtomic(path, await sharp(Buffer.from(svg)).png().toBuffer());
}
