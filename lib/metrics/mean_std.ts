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

/** `27.53 ± 4.54`, as the paper prints its tables. */
export function formatMeanStd({ mean, std }: MeanStd): string {
  return `${mean.toFixed(2)} ± ${std.toFixed(2)}`;
}
