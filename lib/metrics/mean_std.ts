/** Mean and population standard deviation, over pictures, splits or subsets. */
export interface MeanStd {
  mean: number;
  std: number;
}

/** Of at least one value. */
export function meanStd(values: readonly number[]): MeanStd {
  const average = (numbers: readonly number[]) =>
    numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const mean = average(values);
  return { mean, std: Math.sqrt(average(values.map((value) => (value - mean) ** 2))) };
}

/** The middle one of at least one value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** `27.53 ± 4.54`, as the paper prints its tables. */
export function formatMeanStd({ mean, std }: MeanStd): string {
  return `${mean.toFixed(2)} ± ${std.toFixed(2)}`;
}
