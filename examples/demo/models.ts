// The two models: an autoencoder at f = 4, and a latent diffusion model conditioned on a category and on a
// caption. Both save as folders that examples/sample.ts loads.
import { Module, tensor, type Tensor } from '../../lib/index.js';
import { openModel, saveModel, type Json } from '../../lib/io/index.js';
import {
  AutoencoderKL,
  GaussianDiffusion,
  TransformerEncoder,
  UNetModel,
  type AutoencoderConfig,
  type DiffusionConfig,
  type TransformerEncoderConfig,
  type UNetConfig,
} from '../../lib/ldm/index.js';
import { side } from './emoji.js';
import type { Settings } from './settings.js';
import { captionLength, WordTokenizer } from './words.js';

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
  diffusion: DiffusionConfig;
  /** Multiplies latents so that they have unit deviation. */
  scaleFactor: number;
  /** Names of the classes; one more stands for "any". */
  categories: string[];
  /** The words of the tokenizer, in order. */
  words: string[];
}

const textWidth = 128;

export function diffusionConfig(
  settings: Settings,
  categories: readonly string[],
  words: readonly string[],
): EmojiDiffusionConfig {
  const { channels, blocks, multipliers } = settings.diffusion;
  const { latentChannels } = settings.autoencoder;
  return {
    unet: {
      imageSize: latentSide(settings),
      inChannels: latentChannels,
      outChannels: latentChannels,
      modelChannels: channels,
      numResBlocks: blocks,
      // Attention where tokens are few: at a quarter and a half of the latents' size.
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
    diffusion: { betaSchedule: 'linear', linearStart: 0.0015, linearEnd: 0.0195 },
    scaleFactor: 1,
    categories: [...categories],
    words: [...words],
  };
}

/** Class and caption of a batch as the network takes them. */
export type EmojiConditioning = { y: Tensor; ids: Tensor };

/**
 * Predicts the noise of latents [N, H, W, C], given a category and a caption. The U-Net itself gives v, of
 * which the noise is a part: where a latent is nearly all noise, its small errors in ε would become large
 * ones in what the latent shows, and there lies the composition of a picture.
 */
export class EmojiDiffusion extends Module<[Tensor, Tensor, EmojiConditioning], Tensor> {
  readonly unet: UNetModel;
  readonly text: TransformerEncoder;
  readonly #process: GaussianDiffusion;
  readonly #tokenizer: WordTokenizer;

  constructor(readonly config: EmojiDiffusionConfig) {
    super();
    this.unet = new UNetModel(config.unet);
    this.text = new TransformerEncoder(config.text);
    this.#process = new GaussianDiffusion(config.diffusion);
    this.#tokenizer = new WordTokenizer(config.words);
  }

  forward(x: Tensor, t: Tensor, { y, ids }: EmojiConditioning): Tensor {
    const v = this.unet.forward(x, t, { y, context: this.text.forward(ids) });
    return this.#process.predictEpsFromV(x, t, v);
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
