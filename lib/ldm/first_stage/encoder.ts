/** Image to feature map: the encoder of every first stage (paper, section 3.1 and appendix E.2). */
import { checkpoint } from '../../autograd/index.js';
import type { GroupNorm } from '../../nn/index.js';
import { Conv2d, Module, ModuleList, pipe } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { makeAttention } from './attention.js';
import { Downsample, normalize, ResnetBlock } from './blocks.js';
import { withDefaults, type FirstStageConfig, type FullFirstStageConfig } from './config.js';

/** A layer from map to map. */
export type MapLayer = Module<[Tensor], Tensor>;

/** A layer as a step of a pipe; with `recompute` the backward pass runs it again. */
const step =
  (layer: MapLayer, recompute: boolean) =>
  (h: Tensor): Tensor =>
    recompute ? checkpoint((x) => layer.forward(x), h) : layer.forward(h);

/** Residual block, attention, residual block at the lowest resolution. */
export class Middle extends Module<[Tensor], Tensor> {
  readonly block_1: ResnetBlock;
  readonly attn_1: MapLayer;
  readonly block_2: ResnetBlock;
  readonly #recompute: boolean;

  constructor(channels: number, config: FullFirstStageConfig) {
    super();
    const { dropout, normGroups, useCheckpoint } = config;
    this.#recompute = useCheckpoint;
    this.block_1 = new ResnetBlock(channels, { dropout, normGroups });
    this.attn_1 = makeAttention(channels, config);
    this.block_2 = new ResnetBlock(channels, { dropout, normGroups });
  }

  forward(x: Tensor): Tensor {
    const layers = [this.block_1, this.attn_1, this.block_2] as MapLayer[];
    return pipe(
      x,
      layers.map((layer) => step(layer, this.#recompute)),
    );
  }
}

/** Blocks of one resolution, each followed by its attention layer where there are any. */
export class Level extends Module<[Tensor], Tensor> {
  readonly block = new ModuleList<ResnetBlock>([]);
  readonly attn = new ModuleList<MapLayer>([]);
  readonly #recompute: boolean;

  constructor({ useCheckpoint }: FullFirstStageConfig) {
    super();
    this.#recompute = useCheckpoint;
  }

  /** what leads to the next resolution */
  protected resample(): MapLayer | null {
    return null;
  }

  forward(x: Tensor): Tensor {
    return pipe(x, this.steps());
  }

  /** The layers as steps of a longer {@link pipe}, which gives up the level's input as soon as it is read. */
  steps(): ((x: Tensor) => Tensor)[] {
    const layers: MapLayer[] = [];
    for (let i = 0; i < this.block.length; i++) {
      layers.push(this.block[i] as MapLayer);
      if (this.attn.length > 0) layers.push(this.attn[i]);
    }
    const resample = this.resample();
    return [
      ...layers.map((layer) => step(layer, this.#recompute)),
      ...(resample ? [(h: Tensor) => resample.forward(h)] : []),
    ];
  }
}

/** One resolution on the way down. */
class DownLevel extends Level {
  downsample: Downsample | null = null;

  protected override resample(): MapLayer | null {
    return this.downsample;
  }
}

/** [N, H, W, inChannels] → [N, H/f, W/f, zChannels], twice as many channels with `doubleZ`. */
export class Encoder extends Module<[Tensor], Tensor> {
  readonly conv_in: Conv2d;
  readonly down: ModuleList<DownLevel>;
  readonly mid: Middle;
  readonly norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(config: FirstStageConfig) {
    super();
    const full = withDefaults(config);
    const { ch, chMult, numResBlocks, dropout, attnResolutions, normGroups } = full;
    this.conv_in = new Conv2d(full.inChannels, ch, { kernelSize: 3, padding: 1 });
    let width = ch;
    let side = full.resolution;
    const levels = chMult.map((multiplier, l) => {
      const level = new DownLevel(full);
      for (let i = 0; i < numResBlocks; i++) {
        level.block.push(
          new ResnetBlock(width, { outChannels: ch * multiplier, dropout, normGroups }),
        );
        width = ch * multiplier;
        if (attnResolutions.includes(side)) level.attn.push(makeAttention(width, full));
      }
      if (l < chMult.length - 1) {
        level.downsample = new Downsample(width, full.resampWithConv);
        side = Math.floor(side / 2);
      }
      return level;
    });
    this.down = new ModuleList(levels);
    this.mid = new Middle(width, full);
    this.norm_out = normalize(width, normGroups, 'silu');
    this.conv_out = new Conv2d(width, (full.doubleZ ? 2 : 1) * full.zChannels, {
      kernelSize: 3,
      padding: 1,
    });
  }

  forward(x: Tensor): Tensor {
    return pipe(x, [
      (h) => this.conv_in.forward(h),
      ...[...this.down].flatMap((level) => level.steps()),
      (h) => this.mid.forward(h),
      (h) => this.norm_out.forward(h),
      (h) => this.conv_out.forward(h),
    ]);
  }
}
