/** Latent to image: the decoder of every first stage (paper, section 3.1 and appendix E.2). */
import { tanh } from '../../ops/index.js';
import type { GroupNorm } from '../../nn/index.js';
import { Conv2d, Module, ModuleList } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { makeAttention } from './attention.js';
import { normalize, ResnetBlock, Upsample } from './blocks.js';
import { withDefaults, type FirstStageConfig } from './config.js';
import { Middle, type MapLayer } from './encoder.js';

/** One resolution on the way up. */
class UpLevel extends Module<[Tensor], Tensor> {
  readonly block = new ModuleList<ResnetBlock>([]);
  readonly attn = new ModuleList<MapLayer>([]);
  upsample: Upsample | null = null;

  forward(x: Tensor): Tensor {
    let h = x;
    for (let i = 0; i < this.block.length; i++) {
      h = this.block[i].forward(h);
      if (this.attn.length > 0) h = this.attn[i].forward(h);
    }
    return this.upsample ? this.upsample.forward(h) : h;
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
      const level = new UpLevel();
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
    let h = this.mid.forward(this.conv_in.forward(z));
    for (let l = this.up.length - 1; l >= 0; l--) h = this.up[l].forward(h);
    if (this.#givePreEnd) return h;
    const image = this.conv_out.forward(this.norm_out.forward(h));
    return this.#tanhOut ? tanh(image) : image;
  }
}
