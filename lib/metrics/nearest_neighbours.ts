// Whether a model repeats its training data: the nearest training item of every sample.
import { checkShape } from '../errors.js';
import { tidy } from '../scope.js';
import { Tensor } from '../tensor.js';
import {
  pointsOf,
  visitDistances,
  type PairOptions,
  type PairVisitor,
  type Points,
} from './distances.js';
import { checkFeatures } from './features.js';

/** For every sample, in order. */
export interface NearestNeighbours {
  /** Position of the nearest item in the training data; the first of equally near ones. */
  readonly index: number[];
  /** Euclidean distance to it; exactly 0 for a copy. */
  readonly distance: Float64Array;
}

/**
 * The nearest training item of every sample, in float64 on the CPU and in blocks. Small distances between
 * features show a model that repeats what it has seen; between pictures, one that copies pixels.
 *
 * @param samples features [N, D] or pictures [N, ...], in the range of the training data
 * @param training of the same shape but for the first axis, or batches of it, which need not fit into memory
 *   together: each is disposed after its use
 * @throws ShapeError when shapes differ; ArgumentError when the samples or the training data are empty or
 *   hold NaN
 */
export async function nearestNeighbours(
  samples: Tensor,
  training: Tensor | AsyncIterable<Tensor>,
  options: PairOptions = {},
): Promise<NearestNeighbours> {
  const points = await tidy(() => flatPoints('samples', samples, samples));
  const nearest = new Nearest(points);
  try {
    if (training instanceof Tensor) await nearest.search(training, samples, options);
    else
      for await (const batch of training) {
        try {
          await nearest.search(batch, samples, options);
        } finally {
          batch.dispose();
        }
      }
  } finally {
    points.vectors.dispose();
  }
  return nearest.result();
}

class Nearest {
  readonly #index: number[];
  readonly #squares: Float64Array;
  #searched = 0;

  constructor(private readonly samples: Points) {
    const count = samples.squares.length;
    this.#index = Array<number>(count).fill(0);
    this.#squares = new Float64Array(count).fill(Infinity);
  }

  async search(batch: Tensor, like: Tensor, options: PairOptions): Promise<void> {
    const visit: PairVisitor = (distances, rows, columns) => {
      for (let i = rows.begin, at = 0; i < rows.end; i++)
        for (let j = columns.begin; j < columns.end; j++, at++) {
          if (distances[at] >= this.#squares[i]) continue;
          this.#squares[i] = distances[at];
          this.#index[i] = this.#searched + j;
        }
    };
    await tidy(async () => {
      const points = await flatPoints('training', batch, like);
      await visitDistances(this.samples, points, visit, options);
    });
    this.#searched += batch.shape[0];
  }

  result(): NearestNeighbours {
    checkShape(this.#searched > 0, () => 'nearestNeighbours: the training data are empty');
    return { index: this.#index, distance: this.#squares.map(Math.sqrt) };
  }
}

// One vector per item, checked.
async function flatPoints(name: string, x: Tensor, like: Tensor): Promise<Points> {
  const item = like.shape.slice(1);
  checkShape(x.rank >= 2 && String(x.shape.slice(1)) === String(item), () => {
    const got = `${name} of shape [${x.shape.join(', ')}]`;
    return `nearestNeighbours: expected items of shape [${item.join(', ')}]. Got ${got}`;
  });
  const flat = x.detach().reshape([x.shape[0], item.reduce((a, b) => a * b, 1)]);
  checkFeatures('nearestNeighbours', { [name]: flat }, 1);
  return pointsOf('nearestNeighbours', name, flat);
}
