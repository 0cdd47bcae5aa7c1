// Loops over float64 vectors, and products of matrices through the engine, for the linear algebra of the metrics.
import { tensor } from '../creation.js';
import { matmul, type MatmulOptions } from '../ops/index.js';
import { tidy } from '../scope.js';

/** Σ xᵢ yᵢ from index `from` on. */
export function dot(x: Float64Array, y: Float64Array, from = 0): number {
  let sum = 0;
  for (let i = from; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}

/** y += a x from index `from` on. */
export function addScaled(y: Float64Array, a: number, x: Float64Array, from = 0): void {
  for (let i = from; i < y.length; i++) y[i] += a * x[i];
}

/** A row-major matrix. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** Equally long vectors below each other. */
export function stackRows(vectors: readonly Float64Array[], columns: number): Matrix {
  const data = new Float64Array(vectors.length * columns);
  vectors.forEach((vector, i) => data.set(vector, i * columns));
  return { rows: vectors.length, columns, data };
}

/** The product in float64 on the CPU, off the event loop. */
export function product(a: Matrix, b: Matrix, options: MatmulOptions = {}): Promise<Matrix> {
  return tidy(async () => {
    const [x, y] = [a, b].map(({ rows, columns, data }) => {
      return tensor(data, { shape: [rows, columns], device: 'cpu' });
    });
    const z = matmul(x, y, options);
    return { rows: z.shape[0], columns: z.shape[1], data: (await z.data()) as Float64Array };
  });
}
