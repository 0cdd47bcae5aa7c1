// Features of a set of pictures, in an order that only the pictures decide.
import { tensor } from '../creation.js';
import { check } from '../errors.js';
import { FeatureStatistics } from '../metrics/statistics.js';
import type { FeatureMoments } from '../metrics/frechet.js';
import type { Tensor } from '../tensor.js';
import type { ExtractedRows, PictureExtractor } from './extractor.js';
import { pixelHash, sha256 } from './hash.js';
import type { PictureSet } from './picture_set.js';

export const hashBytes = 32;

/** Numbers in a table: those of 1.4 million pictures by Inception, 16 GiB. */
const largestTable = 2 ** 32;

/** What is known of a set of pictures. Its tensors lie on the CPU, and belong to whoever asked for them. */
export interface SetFeatures {
  /** [N, D], float32 */
  readonly features: Tensor;
  /** [N, classes], float32 */
  readonly logits: Tensor;
  /** SHA-256 of what the pictures show, whatever their files and order. */
  readonly hash: string;
}

export interface ExtractOptions {
  signal?: AbortSignal;
  /** Called with the number of pictures so far. */
  onProgress?: (done: number) => void;
}

/** Rows of features, to be put in order when all are there. */
export class FeatureTable {
  readonly #features: Float32Array;
  readonly #logits: Float32Array;
  readonly #hashes: Buffer;
  #count = 0;

  constructor(
    private readonly capacity: number,
    private readonly width: number,
    private readonly classes: number,
  ) {
    check(capacity * (width + classes) <= largestTable, () => {
      return `FeatureTable: ${capacity} pictures of ${width} features are too many for the memory.`;
    });
    this.#features = new Float32Array(capacity * width);
    this.#logits = new Float32Array(capacity * classes);
    this.#hashes = Buffer.alloc(capacity * hashBytes);
  }

  get count(): number {
    return this.#count;
  }

  /** Adds the rows of as many pictures as there are hashes of {@link hashBytes} each. */
  add({ features, logits }: ExtractedRows, hashes: Uint8Array): void {
    const rows = hashes.byteLength / hashBytes;
    check(this.#count + rows <= this.capacity, () => {
      return `FeatureTable: ${this.#count + rows} rows are more than the ${this.capacity} expected.`;
    });
    this.#features.set(features, this.#count * this.width);
    this.#logits.set(logits, this.#count * this.classes);
    this.#hashes.set(hashes, this.#count * hashBytes);
    this.#count += rows;
  }

  /**
   * The rows sorted by their pictures' hashes. Sums round in the order of their terms, and subsets are drawn by
   * position: in this order neither names nor files nor interruptions change a bit of a result, and the
   * splits of the Inception score are as good as shuffled.
   */
  sorted(): SetFeatures {
    const hash = (row: number) => this.#hashes.subarray(row * hashBytes, (row + 1) * hashBytes);
    const order = Array.from({ length: this.#count }, (_, row) => row);
    order.sort((a, b) => Buffer.compare(hash(a), hash(b)) || a - b);
    const inOrder = (rows: Float32Array, width: number): Tensor => {
      const result = new Float32Array(this.#count * width);
      order.forEach((row, i) =>
        result.set(rows.subarray(row * width, (row + 1) * width), i * width),
      );
      return tensor(result, { shape: [this.#count, width], device: 'cpu' });
    };
    return {
      features: inOrder(this.#features, this.width),
      logits: inOrder(this.#logits, this.classes),
      hash: sha256(Buffer.concat(order.map(hash))),
    };
  }
}

/** Sends all pictures of a set through the network. */
export async function extractSet(
  set: PictureSet,
  extractor: PictureExtractor,
  { signal, onProgress }: ExtractOptions = {},
): Promise<SetFeatures> {
  const table = new FeatureTable(set.count, extractor.width, extractor.classes);
  await set.visit(
    extractor.group,
    async (pictures) => {
      const pixels = pictures.map((each) => each.pixels);
      table.add(await extractor.extract(pixels), Buffer.concat(pixels.map(pixelHash)));
      onProgress?.(table.count);
    },
    signal,
  );
  return table.sorted();
}

/** Mean and covariance of features. @throws ArgumentError for fewer than two */
export async function momentsOf(features: Tensor): Promise<FeatureMoments> {
  const statistics = new FeatureStatistics();
  await statistics.update(features);
  return statistics.moments();
}
