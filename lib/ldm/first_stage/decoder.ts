/** Latent to image: the decoder of every first stage (paper, section 3.1 and appendix E.2). */
import { tanh } from '../../ops/index.js';
import type { GroupNorm } from '../../nn/index.js';
import { Conv2d, Module, ModuleList, pipe } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { makeAttention } from './attention.js';
import { normalize, ResnetBlock, Upsample } from './blocks.js';
import { withDefaults, type FirstStageConfig } from './config.js';
import { Level, Middle, type MapLayer } from './encoder.js';

/** One resolution on the way up. */
class UpLevel extends Level {
  upsample: Upsample | null = null;

  protected override resample(): MapLayer | null {
    return this.upsample;
  }
}

/** [N, h, w, zChannels] → [N, f h, f w, outCh]. */
export class Decoder extends Module<[Tensor], Tensor> {
  readonly conv_in: Conv2d;
  readonly mid: Middle;
  /** by level, 0 being the highest resolution, as in the encoder: the last one runs first */
  readonly up: ModuleList<UpLevel>;
  readonly norm_out: GroupNorm;
  readonly conv_out: Conv2d;
  readonly #givePreEnd: boolean;
  readonly #tanhOut: boolean;

  constructor(config: FirstStageConfig) {
    super();
    const full = withDefaults(config);
    const { ch, chMult, numResBlocks, dropout, attnResolutions, normGroups } = full;
    const levels = chMult.length;
    let width = ch * chMult[levels - 1];
    let side = Math.floor(full.resolution / 2 ** (levels - 1));
    this.conv_in = new Conv2d(full.zChannels, width, { kernelSize: 3, padding: 1 });
    this.mid = new Middle(width, full);

    const up: UpLevel[] = [];
    for (let l = levels - 1; l >= 0; l--) {
      const level = new UpLevel(full);
      for (let i = 0; i <= numResBlocks; i++) {
        level.block.push(
          new ResnetBlock(width, { outChannels: ch * chMult[l], dropout, normGroups }),
        );
        width = ch * chMult[l];
        if (attnResolutions.includes(side)) level.attn.push(makeAttention(width, full));
      }
      if (l > 0) {
        level.upsample = new Upsample(width, full.resampWithConv);
        side *= 2;
      }
      up.unshift(level);
    }
    this.up = new ModuleList(up);
    this.norm_out = normalize(width, normGroups, 'silu');
    this.conv_out = new Conv2d(width, full.outCh, { kernelSize: 3, padding: 1 });
    this.#givePreEnd = full.givePreEnd;
    this.#tanhOut = full.tanhOut;
  }

  forward(z: Tensor): Tensor {
    const end: ((h: Tensor) => Tensor)[] = [
      (h) => this.norm_out.forward(h),
      (h) => this.conv_out.forward(h),
    ];
    if (this.#tanhOut) end.push(tanh);
    return pipe(z, [
      (h) => this.conv_in.forward(h),
      (h) => this.mid.forward(h),
      ...[...this.up].reverse().flatMap((level) => level.steps()),
      ...(this.#givePreEnd ? [] : end),
    ]);
  }
}
