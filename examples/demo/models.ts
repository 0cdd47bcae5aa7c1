// The two models: an autoencoder at f = 4, and a latent diffusion model conditioned on a category and on a
// caption. Both save as folders that examples/sample.ts loads.
import { concat, Embedding, Module, normal_, tensor, type Tensor } from '../../lib/index.js';
import { openModel, saveModel, type Json } from '../../lib/io/index.js';
import {
  AutoencoderKL,
  TransformerEncoder,
  UNetModel,
  type AutoencoderConfig,
  type DiffusionConfig,
  type TransformerEncoderConfig,
  type UNetConfig,
} from '../../lib/ldm/index.js';
import { side } from './emoji.js';
import type { Settings } from './settings.js';
import { captionLength, padding, WordTokenizer } from './words.js';

export function autoencoderConfig({ autoencoder }: Settings): AutoencoderConfig {
  const { channels, multipliers, latentChannels } = autoencoder;
  return {
    ddconfig: {
      ch: channels,
      outCh: 3,
      chMult: multipliers,
      numResBlocks: 1,
      inChannels: 3,
      resolution: side,
      zChannels: latentChannels,
      normGroups: 8,
    },
    embedDim: latentChannels,
  };
}

/** Height and width of the latents: each level of the autoencoder but the last halves them. */
export const latentSide = ({ autoencoder }: Settings): number =>
  side / 2 ** (autoencoder.multipliers.length - 1);

/** Everything that rebuilds the diffusion model. */
export interface EmojiDiffusionConfig {
  unet: UNetConfig;
  text: TransformerEncoderConfig;
  /** Squares of so many latents a side are one position of the U-Net. */
  patch: number;
  /** Channels that the words' sketches add to the latents. */
  sketchChannels: number;
  diffusion: DiffusionConfig;
  /** Multiplies latents so that they have unit deviation. */
  scaleFactor: number;
  /** Names of the classes; one more stands for "any". */
  categories: string[];
  /** The words of the tokenizer, in order. */
  words: string[];
}

const textWidth = 128;
// Most words are seen some dozen times, and their sketches grow from next to nothing: so many times as long
// are a sketch's steps.
const sketchScale = 10;

export function diffusionConfig(
  settings: Settings,
  categories: readonly string[],
  words: readonly string[],
): EmojiDiffusionConfig {
  const { channels, blocks, multipliers, patch, sketchChannels } = settings.diffusion;
  const patchChannels = patch ** 2 * settings.autoencoder.latentChannels;
  return {
    unet: {
      imageSize: latentSide(settings) / patch,
      inChannels: patchChannels + sketchChannels,
      outChannels: patchChannels,
      modelChannels: channels,
      numResBlocks: blocks,
      // Attention where tokens are few.
      attentionResolutions: [2, 4],
      channelMult: multipliers,
      numHeadChannels: 32,
      normGroups: 8,
      numClasses: categories.length + 1,
      useSpatialTransformer: true,
      contextDim: textWidth,
    },
    text: {
      numTokens: words.length + 1,
      maxSeqLen: captionLength,
      dim: textWidth,
      depth: 1,
      heads: 4,
      attnDimHead: 32,
      ffMult: 2,
      tieEmbedding: true,
    },
    patch,
    sketchChannels,
    // Of v: where a latent is nearly all noise, small errors in the noise would become large ones in what the
    // latent shows, and there lies the composition of a picture.
    diffusion: {
      betaSchedule: 'linear',
      linearStart: 0.0015,
      linearEnd: 0.0195,
      parameterization: 'v',
    },
    scaleFactor: 1,
    categories: [...categories],
    words: [...words],
  };
}

/** Class and caption of a batch as the network takes them. */
export type EmojiConditioning = { y: Tensor; ids: Tensor };

/**
 * Predicts v of latents [N, H, W, C], given a category and a caption. Cross-attention reads the caption. Besides,
 * every word learns a sketch, a map of its own, and the sum of a caption's sketches is joined to the latents: what
 * is where is then looked up, and the network need not work it out from words at every position.
 */
export class EmojiDiffusion extends Module<[Tensor, Tensor, EmojiConditioning], Tensor> {
  readonly unet: UNetModel;
  readonly text: TransformerEncoder;
  readonly sketches: Embedding;
  readonly #tokenizer: WordTokenizer;

  constructor(readonly config: EmojiDiffusionConfig) {
    super();
    const { unet, text, sketchChannels } = config;
    this.unet = new UNetModel(unet);
    this.text = new TransformerEncoder(text);
    this.sketches = new Embedding(text.numTokens, unet.imageSize! ** 2 * sketchChannels);
    // Many words are seen a few dozen times: each starts as a direction of its own, not close to all others.
    normal_(this.text.token_emb.weight);
    normal_(this.sketches.weight, 0, 0.01);
    this.#tokenizer = new WordTokenizer(config.words);
  }

  forward(x: Tensor, t: Tensor, { y, ids }: EmojiConditioning): Tensor {
    const { unet, patch, sketchChannels } = this.config;
    const side = unet.imageSize!;
    const isWord = ids.ne(padding).to(x.dtype).reshape([-1, captionLength, 1]);
    const sketch = this.sketches.forward(ids).mul(isWord).sum(1).mul(sketchScale);
    const seen = [toPatches(x, patch), sketch.reshape([-1, side, side, sketchChannels])];
    const v = this.unet.forward(concat(seen, 3), t, { y, context: this.text.forward(ids) });
    return fromPatches(v, patch);
  }

  /** Shape of `count` latents. */
  latentShape(count: number): number[] {
    const { unet, patch } = this.config;
    const side = unet.imageSize! * patch;
    return [count, side, side, unet.outChannels / patch ** 2];
  }

  /** Id of a category; an unknown or missing one means "any". */
  classOf(category?: string): number {
    const index = this.config.categories.indexOf(category ?? '');
    return index < 0 ? this.config.categories.length : index;
  }

  /** Conditioning from ids of categories and captions. */
  condition(classes: readonly number[], captions: readonly string[]): EmojiConditioning {
    const ids = captions.flatMap((caption) => this.#tokenizer.encode(caption));
    return {
      y: tensor(Int32Array.from(classes)),
      ids: tensor(Int32Array.from(ids), { shape: [captions.length, captionLength] }),
    };
  }

  /** Nothing known: what guidance leads away from. */
  unconditional(count: number): EmojiConditioning {
    return this.condition(
      new Array<number>(count).fill(this.classOf()),
      new Array<string>(count).fill(''),
    );
  }
}

// [N, H, W, C] to [N, H/p, W/p, p·p·C], and back.
function toPatches(x: Tensor, p: number): Tensor {
  const [N, H, W, C] = x.shape;
  const squares = x.reshape([N, H / p, p, W / p, p, C]).permute([0, 1, 3, 2, 4, 5]);
  return squares.reshape([N, H / p, W / p, p * p * C]);
}

function fromPatches(x: Tensor, p: number): Tensor {
  const [N, H, W, C] = x.shape;
  const rows = x.reshape([N, H, W, p, p, C / p ** 2]).permute([0, 1, 3, 2, 4, 5]);
  return rows.reshape([N, H * p, W * p, C / p ** 2]);
}

const asJson = (config: object): Json => JSON.parse(JSON.stringify(config)) as Json;

/** Saves a model with its weights as they are now. */
export async function save(folder: string, model: Module & { config: object }): Promise<void> {
  await saveModel(folder, { config: asJson(model.config), weights: model.exportState() });
}

export async function loadAutoencoder(folder: string): Promise<AutoencoderKL> {
  const { config, weights } = await openModel(folder);
  const model = new AutoencoderKL(config as unknown as AutoencoderConfig);
  await model.importState(weights);
  return model.eval();
}

export async function loadDiffusion(folder: string): Promise<EmojiDiffusion> {
  const { config, weights } = await openModel(folder);
  const model = new EmojiDiffusion(config as unknown as EmojiDiffusionConfig);
  await model.importState(weights);
  return model.eval();
}
