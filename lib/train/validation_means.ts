// Means of a validation: numbers that are measured batch by batch, weighed by the batches' samples.
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

/** What is measured on a batch, one element each. */
export interface Measured {
  readonly samples: number;
  readonly log: Readonly<Record<string, Tensor>>;
}

/** @param measure is given each batch and its number, from 0 */
export async function validationMeans<Batch>(
  data: AsyncIterable<Batch>,
  measure: (batch: Batch, number: number) => Measured,
): Promise<Record<string, number>> {
  const sums = new Map<string, number>();
  let [total, number] = [0, 0];
  for await (const batch of data) {
    const { samples, values } = await tidy(async () => {
      const { samples, log } = measure(batch, number++);
      const read = Object.entries(log).map(async ([name, x]) => [name, await x.item()] as const);
      return { samples, values: await Promise.all(read) };
    });
    for (const [name, value] of values) sums.set(name, (sums.get(name) ?? 0) + value * samples);
    total += samples;
  }
  return Object.fromEntries([...sums].map(([name, sum]) => [name, sum / total]));
}
