// A series of any length in bounded memory: neighbours share a bucket that keeps what a curve must not lose.
import type { Point } from './plot.js';

interface Bucket {
  least: Point;
  most: Point;
  sumX: number;
  sumY: number;
  count: number;
}

const join = (a: Bucket, b: Bucket): Bucket => ({
  least: b.least[1] < a.least[1] ? b.least : a.least,
  most: b.most[1] > a.most[1] ? b.most : a.most,
  sumX: a.sumX + b.sumX,
  sumY: a.sumY + b.sumY,
  count: a.count + b.count,
});

/** Takes points one by one; extremes stay whatever is thinned. */
export class ThinnedSeries {
  /** Points taken. */
  count = 0;
  first: Point | null = null;
  last: Point | null = null;
  private buckets: Bucket[] = [];
  private perBucket = 1;

  /** @param limit buckets at most, an even number */
  constructor(private readonly limit = 400) {}

  add(x: number, y: number): void {
    const point: Point = [x, y];
    this.first ??= point;
    this.last = point;
    this.count += 1;
    const bucket: Bucket = { least: point, most: point, sumX: x, sumY: y, count: 1 };
    const open = this.buckets.at(-1);
    if (open && open.count < this.perBucket) {
      this.buckets[this.buckets.length - 1] = join(open, bucket);
      return;
    }
    if (this.buckets.length === this.limit) this.halve();
    this.buckets.push(bucket);
  }

  get least(): number {
    return this.buckets.reduce((low, { least }) => Math.min(low, least[1]), Infinity);
  }

  get most(): number {
    return this.buckets.reduce((high, { most }) => Math.max(high, most[1]), -Infinity);
  }

  /** The mean of each bucket: what is smoothed. */
  means(): Point[] {
    return this.buckets.map(({ sumX, sumY, count }) => [sumX / count, sumY / count]);
  }

  /** The least and the greatest of each bucket, in their order. */
  extremes(): Point[] {
    return this.buckets.flatMap(({ least, most, count }) => {
      if (count === 1) return [least];
      return least[0] <= most[0] ? [least, most] : [most, least];
    });
  }

  private halve(): void {
    const pairs: Bucket[] = [];
    for (let i = 0; i < this.buckets.length; i += 2)
      pairs.push(join(this.buckets[i], this.buckets[i + 1]));
    this.buckets = pairs;
    this.perBucket *= 2;
  }
}
