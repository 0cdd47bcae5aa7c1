/** Semantic synthesis: pictures of label maps, also of maps larger than a model was trained on (paper, section 4.3.2). */
import { noGrad } from '../../autograd/index.js';
import { arange, zeros } from '../../creation.js';
import { ArgumentError, check, checkShape } from '../../errors.js';
import { concat, eq, pad } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type {
  LatentDiffusion,
  LatentDiffusionSpec,
  LatentSamples,
  NetworkConditioning,
  PatchOptions,
  SampleOptions,
} from '../diffusion/index.js';
import { decodeTiled, type TilingOptions } from '../first_stage/index.js';
import { latentStep, seedsOf, type TaskOptions } from './pictures.js';

/** How a canvas is made of parts. */
export interface CanvasOptions {
  /**
   * How the network goes over a map that is larger than those of training. Default: patches of the size of
   * training, half of one apart. null: it sees the whole at once, convolutionally as in the paper, for which memory
   * grows with the canvas.
   */
  patches?: PatchOptions | null;
  /** How the first stage does; see `decodeTiled`. */
  tiling?: TilingOptions;
}

export interface SemanticToImageOptions
  extends CanvasOptions, Omit<TaskOptions, 'image' | 'patches' | 'decode' | 'decodeBatch'> {
  /** Labels [N, H, W] as whole numbers, -1 where a pixel has none; or one channel a label, [N, H, W, labels]. */
  map: Tensor;
}

/**
 * Pictures of label maps, of the maps' own size. Memory is bounded by a patch of the network and a tile of the
 * first stage: with the canvas only latents, picture and map grow.
 *
 * ```ts
 * const { images } = await semanticToImage(model, { map, steps: 50, seed: 1 });
 * ```
 *
 * Sides that the networks cannot take are extended by repeating the map's last row and column, and the picture
 * is cut back. Guidance leads away from a map without labels.
 *
 * @throws ArgumentError when the model is none of semantic maps, a label is none of its own or a channel is beyond
 *   [0, 1]; ShapeError for a map of another shape
 */
export async function semanticToImage(
  model: LatentDiffusion,
  { map, patches, tiling, seed, ...options }: SemanticToImageOptions,
): Promise<LatentSamples> {
  const { signal } = options;
  const canvas = new SemanticCanvas(model, [map.shape[1], map.shape[2]], {
    patches,
    tiling: { signal, ...tiling },
  });
  await canvas.check(map);
  return tidy(async () => {
    const { guidance = 1 } = options;
    const { latents } = await model.sample({
      ...options,
      ...canvas.sampling,
      seed: seedsOf('semanticToImage', map.shape[0], seed),
      conditioning: canvas.conditioning(map),
      ...(guidance !== 1 && { unconditionalConditioning: canvas.nothing(map.shape[0]) }),
      decode: false,
    });
    return { latents, images: await canvas.decode(latents) };
  });
}

/** Labels that a model knows. @throws ArgumentError when it is not conditioned on maps of labels */
export function semanticLabels({ conditioner, conditioningKey }: LatentDiffusionSpec): number {
  if (conditioner?.kind === 'spatial-rescaler' && conditioningKey === 'concat')
    return conditioner.inChannels ?? 3;
  throw new ArgumentError(
    `semanticToImage: the model is conditioned on something else (conditioner ${conditioner?.kind ?? 'none'}). ` +
      'One of semantic maps has a spatial rescaler, whose map is joined to the latents.',
  );
}

/** Latents whose labels become channels together: one channel a label is far more than the map itself. */
const bandLatents = 512;

/** What a map of one size needs at a model: sizes, its conditioning, the way back to pixels. */
export class SemanticCanvas {
  /** What `LatentDiffusion.sample` is told of it. */
  readonly sampling: Pick<SampleOptions, 'size' | 'patches'>;
  /** Latents of the extended map. */
  readonly #latents: readonly [h: number, w: number];
  readonly #labels: number;
  readonly #tiling: TilingOptions;

  /** @throws ArgumentError when the model is none of semantic maps */
  constructor(
    readonly model: LatentDiffusion,
    /** of the map and the picture */
    readonly size: readonly [height: number, width: number],
    { patches, tiling = {} }: CanvasOptions = {},
  ) {
    const { spec, first_stage_model: stage } = model;
    this.#labels = semanticLabels(spec);
    this.#tiling = tiling;
    const { nStages, multiplier } = this.#rescaler;
    const f = stage.downsampling;
    check(Math.abs(multiplier ** nStages * f - 1) < 1e-9, () => {
      return `semanticToImage: the conditioner changes sides by ${multiplier ** nStages}, the first stage by 1/${f}.`;
    });
    checkShape(
      size.every((side) => Number.isInteger(side) && side > 0),
      () => {
        return `semanticToImage: a map is [N, H, W] or [N, H, W, ${this.#labels}]. Got sides ${size.join(' x ')}.`;
      },
    );
    const levels = latentStep(spec);
    const [h, w] = size.map((side) => Math.ceil(side / (f * levels)) * levels);
    this.#latents = [h, w];
    const trained = spec.imageSize ?? spec.unet.imageSize ?? 0;
    const isLarger = trained > 0 && (h > trained || w > trained);
    const cut = patches ?? (patches === undefined && isLarger ? { ks: trained } : undefined);
    this.sampling = { size: this.#latents, ...(cut && { patches: cut }) };
  }

  /**
   * @throws ShapeError for a map of another shape; ArgumentError when it has labels that the model lacks, or channels
   *   beyond [0, 1]
   */
  async check(map: Tensor): Promise<void> {
    const [height, width] = this.size;
    const fits = map.shape[1] === height && map.shape[2] === width;
    checkShape(
      fits && (map.rank === 3 || (map.rank === 4 && map.shape[3] === this.#labels)),
      () => {
        return (
          `semanticToImage: a map of this canvas is [N, ${height}, ${width}] or [N, ${height}, ${width}, ` +
          `${this.#labels}]. Got [${map.shape.join(', ')}].`
        );
      },
    );
    return map.rank === 4 ? this.#checkChannels(map) : this.#checkLabels(map);
  }

  /** The map as the network takes it, made in bands so that all its channels are never there at once. */
  conditioning(map: Tensor): NetworkConditioning {
    return noGrad(() =>
      tidy(() => {
        const extended = this.#extended(map.to(this.model.betas.device));
        return this.#banded((top, bottom) => this.#channels(extended, top, bottom));
      }),
    );
  }

  /** What stands for a map without labels. */
  nothing(count: number): NetworkConditioning {
    const { dtype, device } = this.model.betas;
    const width = this.#latents[1] * this.model.first_stage_model.downsampling;
    return noGrad(() =>
      tidy(() =>
        this.#banded((top, bottom) => {
          return zeros([count, bottom - top, width, this.#labels], { dtype, device });
        }),
      ),
    );
  }

  /** Scaled latents to pictures of the map's size, tile by tile. */
  async decode(latents: Tensor): Promise<Tensor> {
    const { first_stage_model: stage, scale_factor: measured, spec } = this.model;
    return tidy(async () => {
      const unscaled = noGrad(() => latents.div(measured ?? spec.scaleFactor ?? 1));
      return this.#cut(await decodeTiled(stage, unscaled, this.#tiling));
    });
  }

  get #rescaler() {
    const { conditioner } = this.model;
    const given = conditioner.kind === 'spatial-rescaler' ? conditioner : {};
    return { nStages: 1, multiplier: 0.5, method: 'bilinear', ...given };
  }

  async #checkLabels(map: Tensor): Promise<void> {
    const labels = (await tidy(() => map.to('float32').data())) as Float32Array;
    const wrong = labels.findIndex((label) => {
      return !(Number.isInteger(label) && label >= -1 && label < this.#labels);
    });
    check(wrong < 0, () => {
      const [height, width] = this.size;
      const [rows, column] = [Math.floor(wrong / width), wrong % width];
      const place = `row ${rows % height}, column ${column} of map ${Math.floor(rows / height)}`;
      return (
        `semanticToImage: the model knows the labels 0 to ${this.#labels - 1}, and -1 where a pixel has none. ` +
        `Got ${labels[wrong]} at ${place}.`
      );
    });
  }

  async #checkChannels(map: Tensor): Promise<void> {
    const [low, high] = await tidy(() => {
      const x = map.to('float32');
      return Promise.all([x.min().item(), x.max().item()]);
    });
    check(low >= 0 && high <= 1, () => {
      return (
        'semanticToImage: a map of one channel a label has values in [0, 1], 1 where a pixel has the label. ' +
        `Got values from ${low} to ${high}; labels themselves are a map [N, H, W].`
      );
    });
  }

  // The last row and column again, as far as the networks need.
  #extended(map: Tensor): Tensor {
    const f = this.model.first_stage_model.downsampling;
    const pads = [0, 1].map((axis) => [0, this.#latents[axis] * f - this.size[axis]] as const);
    if (pads.every(([, after]) => after === 0)) return map;
    const none = [0, 0] as const;
    return pad(map, [none, ...pads, ...(map.rank === 4 ? [none] : [])], { mode: 'replicate' });
  }

  #channels(map: Tensor, top: number, bottom: number): Tensor {
    const band = map.narrow(1, top, bottom - top);
    const { dtype, device } = this.model.betas;
    if (band.rank === 4) return band.to(dtype);
    const labels = arange(0, this.#labels, 1, { dtype: band.dtype, device });
    return eq(band.reshape([...band.shape, 1]), labels).to(dtype);
  }

  #banded(channels: (top: number, bottom: number) => Tensor): NetworkConditioning {
    const f = this.model.first_stage_model.downsampling;
    const [h, w] = this.#latents;
    const { multiplier, method } = this.#rescaler;
    // Halving looks at whole pairs of rows, any other resizing beyond the band's end.
    const isLocal = multiplier === 0.5 && method !== 'bicubic';
    const rows = isLocal ? Math.max(1, Math.floor(bandLatents / w)) : h;
    const parts: Tensor[] = [];
    for (let top = 0; top < h; top += rows) {
      const bottom = Math.min(h, top + rows);
      parts.push(tidy(() => this.model.condition(channels(f * top, f * bottom)).concat!));
    }
    return { concat: concat(parts, 1) };
  }

  #cut(images: Tensor): Tensor {
    const [height, width] = this.size;
    const [, H, W] = images.shape;
    return H === height && W === width ? images : images.narrow(1, 0, height).narrow(2, 0, width);
  }
}
