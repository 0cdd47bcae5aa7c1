// Sets of features [N, D] as the metrics take them: finite, and read in float64 blocks on the CPU, so that a
// value depends neither on the device nor on the dtype that computed it.
import { checkTensors } from '../checks.js';
import { isFloating } from '../dtype.js';
import { check, checkShape, DTypeError } from '../errors.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';

/** Rows of a block, and elements where rows are long: 64 MB in float64. */
const blockRows = 1024;
const blockElements = 2 ** 23;

/** Which rows of a set. */
export interface Block {
  readonly begin: number;
  readonly end: number;
}

/**
 * Named sets of vectors, all of one width.
 *
 * @param metric names the caller in errors
 * @throws ShapeError unless every tensor is [N, D] with the same D of at least 1; ArgumentError for fewer
 *   rows than `atLeast`
 */
export function checkFeatures(
  metric: string,
  sets: Readonly<Record<string, Tensor>>,
  atLeast: number,
): void {
  let first: [string, Tensor] | undefined;
  for (const [name, x] of Object.entries(sets)) {
    checkTensors(metric, { [name]: x });
    if (!isFloating(x.dtype) && x.dtype !== 'uint8')
      throw new DTypeError(`${metric}: ${name} must be floating or uint8, got ${x.describe()}`);
    checkShape(x.rank === 2 && x.shape[1] > 0, () => {
      return `${metric}: ${name} must be [N, D], one row per sample. Got [${x.shape.join(', ')}]`;
    });
    check(x.shape[0] >= atLeast, () => {
      return `${metric}: ${name} has ${x.shape[0]} samples, too few: at least ${atLeast} are needed.`;
    });
    first ??= [name, x];
    checkShape(x.shape[1] === first[1].shape[1], () => {
      const given = `${first![0]} of ${first![1].shape[1]} and ${name} of ${x.shape[1]}`;
      return `${metric}: features must have one width. Got ${given}`;
    });
  }
}

/** Blocks of rows that cover a set of `count` vectors of this width, in order. */
export function blocksOf(count: number, width: number): Block[] {
  const rows = Math.min(blockRows, Math.max(1, Math.floor(blockElements / width)));
  return Array.from({ length: Math.ceil(count / rows) }, (_, i) => {
    return { begin: i * rows, end: Math.min((i + 1) * rows, count) };
  });
}

/** Rows of a set in float64 on the CPU. */
export function readBlock(x: Tensor, { begin, end }: Block): Tensor {
  return tidy(() =>
    x
      .detach()
      .narrow(0, begin, end - begin)
      .to('cpu')
      .to('float64'),
  );
}

/**
 * Visits the elements of all rows in order, block by block, and sees to it that they are finite.
 *
 * @throws ArgumentError that names the first element that is not
 */
export async function scanFeatures(
  metric: string,
  name: string,
  x: Tensor,
  visit: (row: Float64Array, index: number) => void = () => undefined,
): Promise<void> {
  const [count, width] = x.shape;
  for (const block of blocksOf(count, width)) {
    const data = await tidy(async () => (await readBlock(x, block).data()) as Float64Array);
    for (let i = block.begin; i < block.end; i++) {
      const row = data.subarray((i - block.begin) * width, (i - block.begin + 1) * width);
      const bad = row.findIndex((value) => !Number.isFinite(value));
      check(bad < 0, () => {
        return `${metric}: ${name} holds ${row[bad]} in row ${i}, column ${bad}. Leave such samples out, or find out why the network makes them.`;
      });
      visit(row, i);
    }
  }
}
