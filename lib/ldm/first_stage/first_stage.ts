/** What all first stages share: latents and back, a description as plain data, saving and loading. */
import { stat } from 'node:fs/promises';
import { ArgumentError, check, FileError } from '../../errors.js';
import { openCheckpoint } from '../../io/checkpoint.js';
import { fileError } from '../../io/file_error.js';
import { openModel, saveModel } from '../../io/model_folder.js';
import { overlay, withPrefix, type StateReader, type TensorSource } from '../../io/state.js';
import type { Module } from '../../nn/index.js';
import type { NoiseOptions } from '../../random.js';
import type { Tensor } from '../../tensor.js';
import { checkLandmarks, type Landmarks } from '../landmarks.js';
import { checkOptions, flag } from '../rules.js';
import { AutoencoderKL } from './autoencoder_kl.js';
import { EmaCodebook } from './codebook.js';
import {
  checkAutoencoderConfig,
  checkVqConfig,
  withDefaults,
  type AutoencoderConfig,
  type VqConfig,
} from './config.js';
import { IdentityFirstStage, type IdentityOptions } from './identity.js';
import { VQModel, VQModelInterface } from './vq_model.js';

/** An autoencoder as a diffusion model sees it (paper, section 3.1). */
export interface FirstStage extends Module {
  /** Everything needed to build it again. */
  readonly spec: FirstStageSpec;
  /** Channels of a latent. */
  readonly latentChannels: number;
  /** How many times smaller a latent's sides are than the image's: f, a power of two. */
  readonly downsampling: number;
  /**
   * The latents that a diffusion model is trained on, unscaled: of a KL model a sample of the posterior
   * (its mode when no noise is given), of a VQ model the vectors before quantisation.
   *
   * @param images [N, H, W, 3] in [-1, 1], sides divisible by f
   * @returns [N, H/f, W/f, latentChannels]
   */
  encodeToLatents(images: Tensor, noise?: Tensor | NoiseOptions): Tensor;
  /** Latents to images; a VQ model quantises them first. */
  decodeLatents(latents: Tensor): Tensor;
}

/** A first stage as plain data. */
export type FirstStageSpec =
  | ({ kind: 'kl' } & AutoencoderConfig)
  | ({ kind: 'vq' } & VqConfig)
  | ({ kind: 'vq-interface' } & VqConfig)
  | {
      kind: 'identity';
      /** whether `quantize` answers as a VQ model's does, default false */
      vqInterface?: boolean;
    };

/** Builds a first stage with fresh weights. @throws ArgumentError that names what is wrong in the spec */
export function buildFirstStage(spec: FirstStageSpec): FirstStage {
  checkFirstStageSpec(spec);
  const { kind, ...config } = spec;
  switch (kind) {
    case 'kl':
      return new AutoencoderKL(config as AutoencoderConfig);
    case 'vq':
      return new VQModel(config as VqConfig);
    case 'vq-interface':
      return new VQModelInterface(config as VqConfig);
    case 'identity':
      return new IdentityFirstStage(config as IdentityOptions);
  }
}

/** Checks a spec from outside. @throws ArgumentError that names what is wrong in it */
export function checkFirstStageSpec(spec: unknown): asserts spec is FirstStageSpec {
  const { kind, ...config } = (spec ?? {}) as { kind?: unknown };
  switch (kind) {
    case 'kl':
      return checkAutoencoderConfig(config);
    case 'vq':
    case 'vq-interface':
      return checkVqConfig(config);
    case 'identity':
      return checkOptions<IdentityOptions>('identity', config, { vqInterface: flag }, []);
    default:
      throw new ArgumentError(
        `first stage: kind must be one of kl, vq, vq-interface, identity. Got '${String(kind)}'.`,
      );
  }
}

/**
 * Saves a first stage as a folder for {@link loadFirstStage}: its spec in `config.json`, its weights under
 * the original's keys in `model.safetensors`.
 *
 * @param options.ema the moving average of the weights under the same keys, saved beside them
 */
export async function saveFirstStage(
  folder: string,
  model: FirstStage,
  options: { ema?: ReadonlyMap<string, Tensor | TensorSource> } = {},
): Promise<void> {
  const config = { firstStage: model.spec };
  await saveModel(folder, { config, weights: model.exportState(), ema: options.ema });
}

export interface LoadFirstStageOptions {
  /** the moving average of the weights that the folder holds instead of the last ones, default false */
  ema?: boolean;
}

/**
 * Loads a first stage from a folder that {@link saveFirstStage} wrote, or from a checkpoint.
 *
 * @param path a folder, or a file with the weights of a first stage or of a whole diffusion model
 * @param spec what to build; needed for a file, which holds weights only. What it asks of a codebook beyond
 *   the codes (`remap`, `codebookEma`, `restartDeadCodes`) starts anew where the weights were trained without it
 * @throws FileError when the file is damaged or describes no first stage; ArgumentError with all keys
 *   that are missing, unexpected or of another shape
 */
export async function loadFirstStage(
  path: string,
  spec?: FirstStageSpec,
  { ema = false }: LoadFirstStageOptions = {},
): Promise<FirstStage> {
  if (await isFolder(path)) {
    const { config, weights, ema: average } = await openModel(path);
    check(!ema || average, () => {
      return `loadFirstStage: ${path} holds no moving average. Load it without ema.`;
    });
    // An average is of what is trained; buffers have none and come as they are.
    const chosen = ema && average ? overlay(average, weights) : weights;
    return filled(spec ?? storedSpec(config, path), chosen);
  }
  check(spec, () => {
    return `loadFirstStage: ${path} is a file, and a file holds weights only: give the spec as well, such as firstStagePresets['kl-f8'].`;
  });
  check(!ema, () => 'loadFirstStage: only a saved folder keeps a moving average by itself.');
  const checkpoint = await openCheckpoint(path);
  try {
    return await filled(spec, ownWeights(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

function storedSpec(config: unknown, path: string): FirstStageSpec {
  const stored = (config as { firstStage?: unknown } | null)?.firstStage;
  if (!stored) {
    throw new FileError('config.json describes no first stage: it has no "firstStage".', path);
  }
  try {
    checkFirstStageSpec(stored);
  } catch (error) {
    throw new FileError(`config.json: ${(error as Error).message}`, path);
  }
  return stored;
}

async function filled(spec: FirstStageSpec, weights: StateReader): Promise<FirstStage> {
  checkFirstStageSpec(spec);
  checkHeld(spec, weights);
  const model = buildFirstStage(spec);
  try {
    await importWeights(model, weights);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model;
}

/** @internal Before a network is built, its landmarks must be in the file. */
export function checkHeld(spec: FirstStageSpec, weights: StateReader): void {
  checkLandmarks('loadFirstStage', firstStageLandmarks(spec), weights);
}

/** @internal Keys and shapes of the largest tensors of each level: what a file must hold of such a network. */
export function firstStageLandmarks(spec: FirstStageSpec): Landmarks {
  const landmarks = new Map<string, readonly number[]>();
  if (spec.kind === 'identity') return landmarks;
  const { ch, chMult, numResBlocks } = withDefaults(spec.ddconfig);
  chMult.forEach((multiplier, level) => {
    const width = ch * multiplier;
    const key = `decoder.up.${level}.block.${numResBlocks}.conv2.weight`;
    landmarks.set(key, [width, width, 3, 3]);
  });
  if (spec.kind !== 'kl') landmarks.set('quantize.embedding.weight', [spec.nEmbed, spec.embedDim]);
  return landmarks;
}

/** What diffusion checkpoints put before the keys of their first stage. */
const insideDiffusion = 'first_stage_model.';

/** @internal Whether a key is of what first-stage checkpoints hold beside the network: loss networks, the moving average. */
export const isBesideNetwork = (key: string): boolean => /^(loss|model_ema)\./.test(key);

// The network's own weights among all that a checkpoint holds.
function ownWeights(reader: StateReader): StateReader {
  const nested = reader.keys.some((key) => key.startsWith(insideDiffusion));
  const own = nested ? withPrefix(reader, insideDiffusion) : reader;
  const keys = own.keys.filter((key) => !isBesideNetwork(key));
  return {
    origin: own.origin,
    keys,
    has: (key) => !isBesideNetwork(key) && own.has(key),
    info: (key) => own.info(key),
    get: (key) => own.get(key),
  };
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  }
}

// What only training needs, or the spec itself decides: weights that were trained without it lack it.
const startable: readonly string[] = [
  'quantize.used',
  'quantize.code_uses',
  'quantize.embedding.cluster_size',
  'quantize.embedding.embed_avg',
];

async function importWeights(model: FirstStage, weights: StateReader): Promise<void> {
  const own = new Set(model.exportState().keys());
  const missing = [...own].filter((key) => !weights.has(key));
  const fits =
    missing.every((key) => startable.includes(key)) && weights.keys.every((key) => own.has(key));
  await model.importState(weights, { strict: !fits });
  if (!missing.includes('quantize.embedding.embed_avg')) return;
  for (const module of model.modules()) if (module instanceof EmaCodebook) module.startAverages();
}
