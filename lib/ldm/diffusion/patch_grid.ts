/** Maps cut into overlapping patches and put together again by weights that fall towards a patch's border. */
import { tensor } from '../../creation.js';
import { check, checkShape } from '../../errors.js';
import { concat, pad, slice } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import { checkOptions, either, flag, integer, list, number, type Rules } from '../rules.js';

/** How maps are cut and blended: the original's `split_input_params` under its own names. */
export interface PatchOptions {
  /** Side of a patch, or height and width. A map that is smaller is one patch. */
  ks: number | readonly [height: number, width: number];
  /** From one patch to the next, at most `ks`. Default: half of it. */
  stride?: number | readonly [down: number, across: number];
  /** Patches of the middle of the map weigh more than those at its border, too. Default false. */
  tieBraker?: boolean;
  /** What a value weighs at its patch's border, as a share of the patch's side; default 0.01 */
  clipMinWeight?: number;
  /** and in its middle, at most 0.5, which is the default. */
  clipMaxWeight?: number;
  /** The same of whole patches, with `tieBraker`; default 0.01 */
  clipMinTieWeight?: number;
  /** and 0.5. */
  clipMaxTieWeight?: number;
  /** Patches that go through a network together. Default 1. */
  batch?: number;
  /** Whether the first stage works patch by patch as well, see `encodePatchWise`. Default false. */
  patchDistributedVq?: boolean;
  /** Whether a condition of tokens ends with the corners of what is seen, as layouts do: each patch gets its own. Default false. */
  cropTokens?: boolean;
}

const share = number(1e-6, 0.5 + 1e-9);
const sides = either(integer(1, 2 ** 20), list(integer(1, 2 ** 20), 2, 2));

const rules: Rules<Required<PatchOptions>> = {
  ks: sides,
  stride: sides,
  tieBraker: flag,
  clipMinWeight: share,
  clipMaxWeight: share,
  clipMinTieWeight: share,
  clipMaxTieWeight: share,
  batch: integer(1, 2 ** 20),
  patchDistributedVq: flag,
  cropTokens: flag,
};

/** @throws ArgumentError for options that are unknown, out of range or contradict each other */
export function checkPatchOptions(options: unknown): asserts options is PatchOptions {
  checkOptions<PatchOptions>('patches', options, rules, ['ks']);
  const { ks, stride } = sidesOf(options);
  check(stride[0] <= ks[0] && stride[1] <= ks[1], () => {
    const [patch, step] = [ks, stride].map((sides) => sides.join(' x '));
    return `patches: a stride of ${step} leaves gaps between patches of ${patch}.`;
  });
  for (const kind of ['Weight', 'TieWeight'] as const) {
    const [low, high] = [options[`clipMin${kind}`] ?? 0.01, options[`clipMax${kind}`] ?? 0.5];
    check(low <= high, () => {
      return `patches: clipMin${kind} (${low}) must be at most clipMax${kind} (${high}).`;
    });
  }
}

/** Where a patch lies, in values of the map that is cut, and its place among the patches. */
export interface Patch {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  readonly row: number;
  readonly column: number;
}

/**
 * The patches of one map, row after row. They begin at multiples of the stride; where these leave a rest
 * uncovered, one more patch ends at the map's border.
 */
export class PatchGrid {
  readonly patches: readonly Patch[];
  readonly #rows: Axis;
  readonly #columns: Axis;
  readonly #options: PatchOptions;

  /** @throws ArgumentError for options that are unknown, out of range or contradict each other */
  constructor(
    readonly height: number,
    readonly width: number,
    options: PatchOptions,
  ) {
    checkPatchOptions(options);
    const {
      ks: [kh, kw],
      stride: [sy, sx],
    } = sidesOf(options);
    this.#options = options;
    this.#rows = new Axis(height, kh, sy);
    this.#columns = new Axis(width, kw, sx);
    this.patches = this.#rows.starts.flatMap((top, row) =>
      this.#columns.starts.map((left, column) => {
        return { top, left, height: this.#rows.side, width: this.#columns.side, row, column };
      }),
    );
  }

  /** The patches in groups of `batch`. */
  get groups(): readonly (readonly Patch[])[] {
    const { batch = 1 } = this.#options;
    return Array.from({ length: Math.ceil(this.patches.length / batch) }, (_, i) =>
      this.patches.slice(i * batch, (i + 1) * batch),
    );
  }

  /** Patches of x, whose sides are `scale` times the grid's, as one batch: all samples of the first come first. */
  cut(x: Tensor, patches: readonly Patch[], scale = 1): Tensor {
    const parts = patches.map(({ top, left, height, width }) =>
      slice(x, [
        null,
        [scale * top, scale * (top + height)],
        [scale * left, scale * (left + width)],
        null,
      ]),
    );
    return parts.length === 1 ? parts[0] : concat(parts);
  }

  /** What each value of a patch of `scale` times the size weighs: [1, scale height, scale width, 1]. */
  weights(like: Tensor, scale = 1): Tensor {
    const values = this.#weights(scale);
    const shape = [1, scale * this.#rows.side, scale * this.#columns.side, 1];
    return tensor(values, { shape, dtype: like.dtype, device: like.device });
  }

  /** A group's results [patches · N, ...], weighted and in their places in an empty map: [N, H, W, C]. */
  place(y: Tensor, patches: readonly Patch[], weights: Tensor, scale = 1): Tensor {
    const [H, W] = [scale * this.height, scale * this.width];
    const [height, width] = [scale * this.#rows.side, scale * this.#columns.side];
    checkShape(y.rank === 4 && y.shape[1] === height && y.shape[2] === width, () => {
      return `patches: a network made [${y.shape.join(', ')}] of patches, expected [N, ${height}, ${width}, C].`;
    });
    const N = y.shape[0] / patches.length;
    return patches
      .map((patch, i) => {
        const [top, left] = [scale * patch.top, scale * patch.left];
        const part = y.narrow(0, i * N, N).mul(weights.mul(this.#tie(patch)));
        return pad(part, [
          [0, 0],
          [top, H - top - height],
          [left, W - left - width],
          [0, 0],
        ]);
      })
      .reduce((sum, each) => sum.add(each));
  }

  /** The sum of all weights at each place: what the sum of {@link place} is divided by. [1, H, W, 1] */
  total(like: Tensor, scale = 1): Tensor {
    const weights = this.#weights(scale);
    const [H, W] = [scale * this.height, scale * this.width];
    const [height, width] = [scale * this.#rows.side, scale * this.#columns.side];
    const sums = new Float64Array(H * W);
    for (const patch of this.patches) {
      const tie = this.#tie(patch);
      for (let y = 0; y < height; y++) {
        const to = (scale * patch.top + y) * W + scale * patch.left;
        for (let x = 0; x < width; x++) sums[to + x] += tie * weights[y * width + x];
      }
    }
    return tensor(sums, { shape: [1, H, W, 1], dtype: like.dtype, device: like.device });
  }

  #weights(scale: number): Float64Array {
    const { clipMinWeight: low = 0.01, clipMaxWeight: high = 0.5 } = this.#options;
    const [height, width] = [scale * this.#rows.side, scale * this.#columns.side];
    return Float64Array.from({ length: height * width }, (_, i) => {
      const y = borderDistance(Math.floor(i / width), height);
      return clip(Math.min(y, borderDistance(i % width, width)), low, high);
    });
  }

  #tie({ row, column }: Patch): number {
    const { tieBraker, clipMinTieWeight: low = 0.01, clipMaxTieWeight: high = 0.5 } = this.#options;
    if (!tieBraker) return 1;
    const y = borderDistance(row, this.#rows.starts.length);
    return clip(Math.min(y, borderDistance(column, this.#columns.starts.length)), low, high);
  }
}

/** One side of a map, covered by patches. */
class Axis {
  readonly side: number;
  readonly starts: readonly number[];

  constructor(extent: number, ks: number, stride: number) {
    this.side = Math.min(ks, extent);
    const last = extent - this.side;
    this.starts = Array.from({ length: Math.ceil(last / stride) + 1 }, (_, i) => {
      return Math.min(i * stride, last);
    });
  }
}

/** @internal Height and width of a patch, and the way to the next. */
export function sidesOf({ ks, stride }: PatchOptions) {
  const pair = (sides: number | readonly [number, number]): readonly [number, number] =>
    typeof sides === 'number' ? [sides, sides] : sides;
  const [kh, kw] = pair(ks);
  const half = [Math.ceil(kh / 2), Math.ceil(kw / 2)] as const;
  return { ks: [kh, kw] as const, stride: stride === undefined ? half : pair(stride) };
}

// From the nearer end, as a share of the whole; a single place is as far from both as it can be.
function borderDistance(i: number, count: number): number {
  return count === 1 ? 0.5 : Math.min(i / (count - 1), 1 - i / (count - 1));
}

const clip = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));
