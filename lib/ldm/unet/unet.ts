/** The network ε(x, t, conditioning) of the diffusion model (paper, section 3.2 and appendix E.2). */
import { concat, timestepEmbedding } from '../../ops/index.js';
import {
  Conv2d,
  Embedding,
  GroupNorm,
  Linear,
  Module,
  ModuleList,
  pipe,
  zeroModule,
} from '../../nn/index.js';
import { check, checkShape } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import { withDefaults, type FullUNetConfig, type UNetConfig } from './config.js';
import { PreparedContext, type Context } from './context.js';
import { buildDown, buildUp, type Stage } from './layers.js';
import { BasicTransformerBlock } from './transformer.js';

/** What the network may be conditioned on besides time. */
export interface UNetConditioning {
  /** tokens [N, S, contextDim], for a spatial transformer */
  context?: Context;
  /** class ids [N], for a network with numClasses */
  y?: Tensor;
}

/** Noisy latents [N, H, W, inChannels] and timesteps [N] to a prediction [N, H, W, outChannels]. */
export class UNetModel extends Module<[Tensor, Tensor, UNetConditioning?], Tensor> {
  readonly time_embed: { 0: Linear; 2: Linear };
  readonly label_emb: Embedding | null;
  readonly input_blocks: ModuleList<Stage>;
  readonly middle_block: Stage;
  readonly output_blocks: ModuleList<Stage>;
  readonly out: { 0: GroupNorm; 2: Conv2d };
  readonly id_predictor: { 0: GroupNorm; 1: Linear } | null;
  readonly #config: FullUNetConfig;

  constructor(readonly config: UNetConfig) {
    super();
    const full = (this.#config = withDefaults(config));
    const { modelChannels: width, numClasses, nEmbed, outChannels } = full;
    const embWidth = 4 * width;
    this.time_embed = { 0: new Linear(width, embWidth), 2: new Linear(embWidth, embWidth) };
    this.label_emb = numClasses > 0 ? new Embedding(numClasses, embWidth) : null;
    const { down, middle, widths } = buildDown(full);
    this.input_blocks = new ModuleList(down);
    this.middle_block = middle;
    this.output_blocks = new ModuleList(buildUp(full, widths));
    this.out = {
      0: new GroupNorm(full.normGroups, width, { activation: 'silu' }),
      2: zeroModule(new Conv2d(width, outChannels, { kernelSize: 3, padding: 1 })),
    };
    this.id_predictor =
      nEmbed > 0
        ? {
            0: new GroupNorm(full.normGroups, width),
            1: new Linear(width, nEmbed, { storedAs: 'conv2d' }),
          }
        : null;
  }

  /**
   * @param x [N, H, W, C], sides divisible by 2^(levels - 1)
   * @param t [N], integer or fractional timesteps
   */
  forward(x: Tensor, t: Tensor, { context, y }: UNetConditioning = {}): Tensor {
    this.#check(x, t, context, y);
    const time = timestepEmbedding(t, this.#config.modelChannels).to(x.dtype); // [N, M]
    const hidden = this.time_embed[0].forward(time, { activation: 'silu' });
    let emb = this.time_embed[2].forward(hidden); // [N, 4M]
    if (this.label_emb && y) emb = emb.add(this.label_emb.forward(y));

    const skips: Tensor[] = [];
    let h = x;
    for (const stage of this.input_blocks) {
      h = stage.run(h, emb, context);
      skips.push(h);
    }
    const joined = (up: Tensor): Tensor => {
      const skip = skips.pop()!;
      const both = concat([up, skip], 3);
      skip.dispose();
      return both;
    };
    return pipe(h, [
      ...this.middle_block.steps(emb, context),
      ...[...this.output_blocks].flatMap((stage) => [joined, ...stage.steps(emb, context)]),
      (top) => (this.id_predictor ?? this.out)[0].forward(top),
      (top) => (this.id_predictor ? this.id_predictor[1] : this.out[2]).forward(top),
    ]);
  }

  /**
   * Projects a context to the keys and values of every cross-attention, once instead of in every call.
   *
   * @param context [N, S, contextDim]
   */
  prepareContext(context: Tensor): PreparedContext {
    const { contextDim } = this.#config;
    checkShape(context.rank === 3 && context.shape[2] === contextDim, () => {
      return `UNetModel: the context must be [N, S, ${contextDim || 'none'}]. Got [${context.shape.join(', ')}].`;
    });
    const blocks = this.modules().filter((module) => module instanceof BasicTransformerBlock);
    return new PreparedContext(
      new Map(blocks.map(({ attn2 }) => [attn2, attn2.project(context)] as const)),
    );
  }

  #check(x: Tensor, t: Tensor, context?: Context, y?: Tensor): void {
    const { inChannels, channelMult, contextDim } = this.#config;
    const [N, H, W, C] = x.shape;
    const factor = 2 ** (channelMult.length - 1);
    const got = () => `Got x of shape [${x.shape.join(', ')}]`;
    checkShape(x.rank === 4 && C === inChannels, () => {
      return `UNetModel: x must be [N, H, W, ${inChannels}]. ${got()}.`;
    });
    checkShape(H % factor === 0 && W % factor === 0, () => {
      return `UNetModel: with ${channelMult.length} levels the sides must be divisible by ${factor}. ${got()}.`;
    });
    checkShape(t.rank === 1 && t.shape[0] === N, () => {
      return `UNetModel: t must be [N], one timestep per sample. ${got()} and t of [${t.shape.join(', ')}].`;
    });
    check((y !== undefined) === (this.label_emb !== null), () => {
      return this.label_emb
        ? 'UNetModel: the network is class-conditional: give class ids as y.'
        : 'UNetModel: y was given, but the network has no classes (numClasses).';
    });
    check(context === undefined || contextDim > 0, () => {
      return 'UNetModel: a context was given, but the network takes none (useSpatialTransformer).';
    });
  }
}
