/**
 * First stages on images of any size: overlapping tiles go through the network one after the other and
 * are blended, so that memory is bounded by a tile and not by the image.
 */
import { noGrad } from '../../autograd/index.js';
import { tensor } from '../../creation.js';
import { check, checkShape } from '../../errors.js';
import { concat, pad, slice } from '../../ops/index.js';
import { noise as drawNoise, type NoiseOptions } from '../../random.js';
import { tidy } from '../../scope.js';
import { Tensor } from '../../tensor.js';
import type { FirstStage } from './first_stage.js';

/** How an image is cut. Sides are counted in latents: one is `model.downsampling` pixels. */
export interface TilingOptions {
  /**
   * Side of a tile. Default: 512 pixels' worth, 64 where an image shrinks by 8, and at least 4. A network
   * like kl-f8 then needs less than 2 GB, however large the image.
   */
  tile?: number;
  /** What neighbours share at least; up to half a tile. Default: a quarter of the tile. */
  overlap?: number;
  /** Tiles that go through the network together. Default 1. */
  batch?: number;
  /** Called after each step with the number of finished tiles and of all. */
  onProgress?: (done: number, total: number) => void;
  /** Stops before the next step; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface EncodeTiledOptions extends TilingOptions {
  /** For a KL model: ε of the whole latent [N, h, w, C], or the seed it is drawn with. Default: the mode. */
  noise?: Tensor | NoiseOptions;
}

export interface DecodeTiledOptions extends TilingOptions {
  /** `[height, width]` of the images that were encoded; what padding added is cut off. Default: all. */
  size?: readonly [height: number, width: number];
}

/**
 * Latents of images of any size, as `model.encodeToLatents` gives them. Sides that are no multiple of
 * f = `model.downsampling` are first extended at the bottom and at the right by reflection;
 * {@link decodeTiled} with `size` cuts that off again.
 *
 * An image that fits into one tile gives exactly what the network gives for the whole. In a larger one,
 * attention and the statistics of group norms reach over one tile only, and each tile is padded with
 * zeros as an image of its own; the outer quarter of every overlap, where the latter is felt most, is
 * left out of the blend. The noise belongs to the position in the image: a sample does not depend on the tiling.
 *
 * @param images [N, H, W, C]; nothing is recorded for gradients
 * @returns [N, ⌈H/f⌉, ⌈W/f⌉, latentChannels], unscaled
 * @throws ArgumentError or ShapeError for options or shapes that do not fit, before anything is computed
 */
export async function encodeTiled(
  model: FirstStage,
  images: Tensor,
  options: EncodeTiledOptions = {},
): Promise<Tensor> {
  checkMap('encodeTiled', images, '[N, H, W, C]');
  const f = model.downsampling;
  const [N, H, W] = images.shape;
  const [h, w] = [Math.ceil(H / f), Math.ceil(W / f)];
  const plan = new Plan('encodeTiled', [N, h, w], f, options);
  const shape = [N, h, w, model.latentChannels];
  const { noise } = options;
  checkShape(!(noise instanceof Tensor) || String(noise.shape) === String(shape), () => {
    const got = (noise as Tensor).shape.join(', ');
    return `encodeTiled: noise must have the latents' shape [${shape.join(', ')}]. Got [${got}].`;
  });
  return tidy(async () => {
    const padded = extendMirrored(images, h * f, w * f);
    const eps =
      noise && !(noise instanceof Tensor)
        ? drawNoise(shape, { device: images.device, ...noise })
        : noise;
    return plan.run(1, (tiles) => {
      const noiseOfTiles = eps && plan.cut(eps, tiles, 1);
      return model.encodeToLatents(plan.cut(padded, tiles, f), noiseOfTiles);
    });
  });
}

/**
 * Images of latents of any size, as `model.decodeLatents` gives them. A single tile gives exactly what the
 * network gives for the whole; see {@link encodeTiled} for what differs in larger ones.
 *
 * @param latents [N, h, w, latentChannels], unscaled; nothing is recorded for gradients
 * @returns [N, f h, f w, C], or [N, height, width, C] with `size`
 * @throws ArgumentError or ShapeError for options or shapes that do not fit, before anything is computed
 */
export async function decodeTiled(
  model: FirstStage,
  latents: Tensor,
  options: DecodeTiledOptions = {},
): Promise<Tensor> {
  checkMap('decodeTiled', latents, '[N, h, w, C]');
  const f = model.downsampling;
  const [N, h, w] = latents.shape;
  const [height, width] = options.size ?? [f * h, f * w];
  const fits = (pixels: number, count: number): boolean =>
    Number.isInteger(pixels) && Math.ceil(pixels / f) === count;
  checkShape(fits(height, h) && fits(width, w), () => {
    const wanted = `sizes up to ${f * h} x ${f * w} and less than ${f} below`;
    return `decodeTiled: latents of ${h} x ${w} are images of ${wanted}. Got size ${height} x ${width}.`;
  });
  const plan = new Plan('decodeTiled', [N, h, w], f, options);
  return tidy(async () => {
    const images = await plan.run(f, (tiles) => model.decodeLatents(plan.cut(latents, tiles, 1)));
    return height === f * h && width === f * w
      ? images
      : slice(images, [null, [0, height], [0, width], null]);
  });
}

/** Where a tile lies: its image, and its first row and column in latents. */
interface Tile {
  readonly image: number;
  readonly row: number;
  readonly column: number;
}

/** The tiles of a batch of images; all of one shape. */
class Plan {
  readonly #tiles: readonly Tile[];
  readonly #rows: Axis;
  readonly #columns: Axis;
  readonly #batch: number;

  constructor(
    readonly caller: string,
    readonly grid: readonly [N: number, h: number, w: number],
    f: number,
    readonly options: TilingOptions,
  ) {
    const { tile = Math.max(4, Math.round(512 / f)), batch = 1 } = options;
    const { overlap = Math.floor(tile / 4) } = options;
    check(Number.isInteger(tile) && tile >= 1, () => {
      return `${caller}: tile is a number of latents, at least 1. Got ${tile}.`;
    });
    check(Number.isInteger(overlap) && overlap >= 0 && 2 * overlap <= tile, () => {
      return `${caller}: overlap is a number of latents up to half a tile of ${tile}. Got ${overlap}.`;
    });
    check(Number.isInteger(batch) && batch >= 1, () => {
      return `${caller}: batch is a number of tiles, at least 1. Got ${batch}.`;
    });
    const [N, h, w] = grid;
    this.#rows = new Axis(h, tile, overlap);
    this.#columns = new Axis(w, tile, overlap);
    this.#batch = batch;
    const tiles: Tile[] = [];
    for (let image = 0; image < N; image++)
      for (const row of this.#rows.starts)
        for (const column of this.#columns.starts) tiles.push({ image, row, column });
    this.#tiles = tiles;
  }

  /** The given tiles of a map that has `scale` values where the grid has one: [tiles, height, width, C]. */
  cut(x: Tensor, tiles: readonly Tile[], scale: number): Tensor {
    const range = (start: number, { tile }: Axis) =>
      [start * scale, (start + tile) * scale] as const;
    const parts = tiles.map(({ image, row, column }) => {
      const [height, width] = [range(row, this.#rows), range(column, this.#columns)];
      return slice(x, [[image, image + 1], height, width, null]);
    });
    return concat(parts);
  }

  /** The network's results blended: [N, scale h, scale w, C]. One step's tensors are alive at a time. */
  async run(scale: number, network: (tiles: readonly Tile[]) => Tensor): Promise<Tensor> {
    const [N, h, w] = this.grid;
    const total = this.#tiles.length;
    let canvas: Canvas | undefined;
    for (let done = 0; done < total;) {
      this.options.signal?.throwIfAborted();
      const tiles = this.#tiles.slice(done, done + this.#batch);
      await tidy(async () => {
        const y = noGrad(() => network(tiles));
        this.#checkResult(y, tiles.length, scale);
        canvas ??= new Canvas([N, scale * h, scale * w, y.shape[3]], y);
        const values = (await y.data()) as Float32Array | Float64Array;
        const size = values.length / tiles.length;
        tiles.forEach(({ image, row, column }, i) => {
          const part = values.subarray(i * size, (i + 1) * size);
          const [rows, columns] = [this.#rows, this.#columns];
          canvas!.add(part, image, rows.place(row, scale), columns.place(column, scale));
        });
      });
      done += tiles.length;
      this.options.onProgress?.(done, total);
    }
    return canvas!.tensor();
  }

  #checkResult(y: Tensor, count: number, scale: number): void {
    const expected = [count, scale * this.#rows.tile, scale * this.#columns.tile];
    checkShape(y.rank === 4 && expected.every((extent, axis) => extent === y.shape[axis]), () => {
      const wanted = `[${expected.join(', ')}, C]`;
      return `${this.caller}: the model made [${y.shape.join(', ')}] of tiles, expected ${wanted}.`;
    });
  }
}

/** Where a tile's values go along one axis, and what each weighs. */
interface Place {
  readonly start: number;
  readonly weights: Float64Array;
}

/** One side of the grid, covered by tiles at even distances. */
class Axis {
  readonly tile: number;
  readonly starts: readonly number[];

  constructor(
    readonly extent: number,
    tile: number,
    readonly overlap: number,
  ) {
    this.tile = Math.min(tile, extent);
    const gaps = Math.ceil((extent - this.tile) / (tile - overlap));
    this.starts = Array.from({ length: gaps + 1 }, (_, i) => {
      return gaps === 0 ? 0 : Math.round((i * (extent - this.tile)) / gaps);
    });
  }

  /** The weights of all tiles that cover a place sum to 1 there. */
  place(start: number, scale: number): Place {
    const weights = new Float64Array(this.tile * scale);
    for (let k = 0; k < weights.length; k++) {
      const at = start * scale + k;
      let all = 0;
      for (const other of this.starts) all += this.#taper(at - other * scale, other, scale);
      weights[k] = this.#taper(k, start, scale) / all;
    }
    return { start: start * scale, weights };
  }

  // Falls from 1 towards a border that has a neighbour: smoothly within the middle half of the overlap.
  #taper(k: number, start: number, scale: number): number {
    const length = this.tile * scale;
    if (k < 0 || k >= length) return 0;
    const before = start === 0 ? Infinity : k + 0.5;
    const after = start + this.tile === this.extent ? Infinity : length - k - 0.5;
    const distance = Math.min(before, after) / (this.overlap * scale);
    const t = Math.min(1, Math.max(0, 2 * distance - 0.5));
    return t * t * (3 - 2 * t);
  }
}

/** The blended image while it grows, in the host's memory. */
class Canvas {
  readonly #values: Float32Array | Float64Array;

  constructor(
    readonly shape: readonly number[],
    readonly like: Pick<Tensor, 'dtype' | 'device'>,
  ) {
    const length = shape.reduce((a, b) => a * b, 1);
    this.#values = like.dtype === 'float64' ? new Float64Array(length) : new Float32Array(length);
  }

  add(part: Float32Array | Float64Array, image: number, rows: Place, columns: Place): void {
    const [, H, W, C] = this.shape;
    const length = columns.weights.length;
    for (let y = 0; y < rows.weights.length; y++) {
      let to = ((image * H + rows.start + y) * W + columns.start) * C;
      let from = y * length * C;
      for (let x = 0; x < length; x++) {
        const weight = rows.weights[y] * columns.weights[x];
        for (let c = 0; c < C; c++) this.#values[to++] += weight * part[from++];
      }
    }
  }

  tensor(): Tensor {
    const { dtype, device } = this.like;
    return tensor(this.#values, { shape: this.shape, dtype, device });
  }
}

/** @internal Mirrors at the bottom and at the right; an image too small for that repeats its last row or column. */
export function extendMirrored(images: Tensor, height: number, width: number): Tensor {
  let result = images;
  for (const [axis, extent] of [
    [1, height],
    [2, width],
  ] as const) {
    const missing = extent - result.shape[axis];
    if (missing === 0) continue;
    const pads = [0, 1, 2, 3].map((each) => [0, each === axis ? missing : 0] as const);
    const mode = missing < result.shape[axis] ? 'reflect' : 'replicate';
    result = pad(result, pads, { mode });
  }
  return result;
}

function checkMap(caller: string, x: Tensor, wanted: string): void {
  checkShape(x.rank === 4 && x.numel > 0, () => {
    return `${caller}: expected ${wanted} with at least one value. Got shape [${x.shape.join(', ')}].`;
  });
}
