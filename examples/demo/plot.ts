// A line plot as PNG: losses over images seen, on a logarithmic axis.
import sharp from 'sharp';
import { writeFileAtomic } from '../../lib/io/atomic.js';

export interface Curve {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const size = { width: 900, height: 480, left: 80, right: 24, top: 48, bottom: 56 };

const escape = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

// 1, 2 or 5 times a power of ten, at most about five steps up to the limit.
function niceStep(limit: number): number {
  const raw = limit / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10) * power;
}

/** Running mean with the given weight of the past, so that the trend shows through the noise. */
export function smooth(points: Curve['points'], weight: number): [number, number][] {
  let mean = 0;
  let total = 0;
  return points.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return [x, mean / total];
  });
}

/** Draws the curves and writes the picture. */
export async function writePlot(
  path: string,
  title: string,
  curves: readonly Curve[],
): Promise<void> {
  const { width, height, left, right, top, bottom } = size;
  const all = curves.flatMap((curve) => curve.points).filter(([, y]) => y > 0);
  if (all.length === 0) return;
  const xMax = Math.max(1, ...all.map(([x]) => x));
  const yLow = Math.floor(Math.log10(Math.min(...all.map(([, y]) => y))) * 4) / 4;
  const yHigh = Math.max(
    yLow + 0.25,
    Math.ceil(Math.log10(Math.max(...all.map(([, y]) => y))) * 4) / 4,
  );
  const px = (x: number): number => left + (x / xMax) * (width - left - right);
  const py = (y: number): number =>
    top + ((yHigh - Math.log10(y)) / (yHigh - yLow)) * (height - top - bottom);

  const marks: string[] = [];
  const step = niceStep(xMax);
  for (let x = 0; x <= xMax; x += step)
    marks.push(
      `<line x1="${px(x)}" x2="${px(x)}" y1="${top}" y2="${height - bottom}" class="grid"/>`,
      `<text x="${px(x)}" y="${height - bottom + 20}" text-anchor="middle">${x.toLocaleString('en-US')}</text>`,
    );
  for (let exponent = yLow; exponent <= yHigh + 1e-9; exponent += 0.25) {
    const y = 10 ** exponent;
    marks.push(
      `<line x1="${left}" x2="${width - right}" y1="${py(y)}" y2="${py(y)}" class="grid"/>`,
      `<text x="${left - 8}" y="${py(y) + 4}" text-anchor="end">${y.toPrecision(2)}</text>`,
    );
  }
  const lines = curves.map(({ colour, points }) => {
    const path = points
      .filter(([, y]) => y > 0)
      .map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`);
    return `<polyline points="${path.join(' ')}" stroke="${colour}" fill="none" stroke-width="2"/>`;
  });
  const legend = curves.map(
    ({ name, colour }, i) =>
      `<rect x="${left + 10 + i * 190}" y="34" width="12" height="4" fill="${colour}"/>` +
      `<text x="${left + 28 + i * 190}" y="40">${escape(name)}</text>`,
  );
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="13">` +
    `<style>.grid{stroke:#e4e4e4}</style><rect width="100%" height="100%" fill="white"/>` +
    `<text x="${left}" y="22" font-size="16" font-weight="bold">${escape(title)}</text>` +
    `${marks.join('')}${lines.join('')}${legend.join('')}` +
    `<text x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">images seen</text></svg>`;
  await writeFileAtomic(path, await sharp(Buffer.from(svg)).png().toBuffer());
}
