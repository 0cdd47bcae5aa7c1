// Axes of plots: values to places, ticks at round numbers.

export interface Axis {
  readonly label: string;
  /** Default linear. Points that a logarithm cannot show are left out. */
  readonly scale?: 'linear' | 'log';
  /** Where the labels stand. Default: round numbers. */
  readonly ticks?: readonly number[];
}

/** An axis laid over the values that it must hold. */
export interface Scale {
  readonly ticks: readonly number[];
  /** 0 at the lower end, 1 at the upper. */
  share(value: number): number;
  /** A tick's value in few characters. */
  label(value: number): string;
}

/** The scale of an axis that holds `values`, of which there is at least one; on a log axis all are above 0. */
export function scaleOf(axis: Axis, values: readonly number[]): Scale {
  let [low, high] = [Infinity, -Infinity];
  for (const list of [values, axis.ticks ?? []])
    for (const value of list) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  return (axis.scale === 'log' ? logScale : linearScale)(low, high, axis.ticks);
}

// 1, 2 or 5 times a power of ten, at most about five steps over the range.
function niceStep(range: number): number {
  const raw = range / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10) * power;
}

function linearScale(least: number, most: number, ticks?: readonly number[]): Scale {
  const step = niceStep(most - least || Math.abs(most) || 1);
  const low = Math.floor(least / step) * step;
  const high = Math.max(Math.ceil(most / step) * step, low + step);
  const count = Math.round((high - low) / step);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return {
    ticks: ticks ?? Array.from({ length: count + 1 }, (_, i) => low + i * step),
    share: (value) => (value - low) / (high - low),
    label: (value) => tickLabel(value, digits),
  };
}

function logScale(least: number, most: number, ticks?: readonly number[]): Scale {
  const margin = ticks ? 0 : 0.04 * Math.log10(most / least);
  let [low, high] = [Math.log10(least) - margin, Math.log10(most) + margin];
  // A range of one value still needs a width.
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  return {
    ticks: ticks ?? logTicks(low, high),
    share: (value) => (Math.log10(value) - low) / (high - low),
    label: (value) => tickLabel(value, 4),
  };
}

// Powers of ten with 2 and 5 between them where there is room; round numbers where no power is near.
function logTicks(low: number, high: number): number[] {
  const factors = high - low > 3 ? [1] : high - low > 1.5 ? [1, 3] : [1, 2, 5];
  const every = Math.max(1, Math.ceil((high - low) / 8));
  const ticks: number[] = [];
  for (let power = Math.floor(low); power <= high; power++)
    if (power % every === 0) for (const factor of factors) ticks.push(Number(`${factor}e${power}`));
  const inside = ticks.filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high);
  if (inside.length >= 3) return inside;
  const { ticks: round } = linearScale(10 ** low, 10 ** high);
  return round.filter((tick) => tick > 0 && Math.log10(tick) >= low && Math.log10(tick) <= high);
}

function tickLabel(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trimmed(value / 1e6, 2)}M`;
  if (size >= 1e4) return `${trimmed(value / 1e3, 1)}k`;
  if (size > 0 && size < 1e-3) return value.toExponential(1).replace('.0e', 'e');
  return trimmed(value, digits);
}

const trimmed = (value: number, digits: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: digits });
