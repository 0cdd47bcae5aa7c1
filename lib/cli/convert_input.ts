// What `emulsion convert` reads: tensors under the original's keys and, where it is told, the network.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  diffusionModelTargets,
  firstStageTargets,
  loadConfigTree,
  readModel,
  toPlain,
  type ConfigNode,
} from '../config/index.js';
import { nodeAt } from '../config/node.js';
import { ArgumentError, FileError } from '../errors.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { classNamesFile } from '../io/class_names.js';
import { fileError } from '../io/file_error.js';
import { loadConfig, openModel } from '../io/model_folder.js';
import { overlay, withPrefix, type StateReader } from '../io/state.js';
import {
  checkFirstStageSpec,
  checkLatentDiffusionSpec,
  checkUNetConfig,
  diffusersUNets,
  fromDiffusersConfig,
  fromDiffusersUNetConfig,
  isDiffusersConfig,
  type ConvertedReader,
  type FirstStageSpec,
  type LatentDiffusionSpec,
  type UNetConfig,
} from '../ldm/index.js';
import { tokenizerFile } from '../ldm/conditioning/text/vocabulary_files.js';
import { firstStagePresets, latentDiffusionPresets } from '../ldm/presets/index.js';
import type { ConvertOptions } from './convert_checkpoint.js';
import {
  diffusionModel,
  firstStageModel,
  unetModel,
  type ConvertibleModel,
} from './convert_models.js';
import { isPipeline, openPipeline, openWeights } from './convert_pipeline.js';
import { UsageError } from './run.js';
import { presetNamed } from './presets.js';

/** A file or folder, opened. */
export interface Input {
  /** Where the tensors come from, for messages. */
  readonly origin: string;
  /** Files that are read, and therefore never written. */
  readonly files: readonly string[];
  /** The names of all tensors as they are stored. */
  readonly stored: readonly string[];
  /** The tensors under the original's keys; `keys` are those of the network. */
  original(keys: readonly string[]): ConvertedReader;
  /** The network; null where nothing says what the tensors are. */
  readonly model: ConvertibleModel | null;
  /** What latents are multiplied by, if the input tells. */
  readonly scaleFactor?: number;
  /** The moving average of the same weights, where it lies beside them. */
  readonly ema?: Input['original'];
  /** Files of a model folder that go along: what its classes are called, and what reads its texts. */
  readonly companions?: readonly string[];
  /** Folders of a pipeline that are not converted, by name. */
  readonly others?: readonly string[];
}

/** Opens what is to be converted; reads no weights. */
export async function openInput(path: string, options: ConvertOptions): Promise<Input> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  return entry.isDirectory() ? openFolder(path, options) : openFile(path, options);
}

async function openFolder(path: string, options: ConvertOptions): Promise<Input> {
  for (const name of ['preset', 'config', 'prefix'] as const) {
    if (options[name] !== undefined)
      throw new UsageError(`${path} is a folder, which says itself what it is: no --${name}.`);
  }
  const diffusersAverage = `${path}: folders of diffusers hold no moving average.`;
  if (await isPipeline(path)) {
    if (options.ema) throw new UsageError(diffusersAverage);
    return openPipeline(path);
  }
  const config = await loadConfig(path);
  const described = describedBy(config, join(path, 'config.json'));
  if (!described)
    throw new FileError(
      'config.json describes neither a first stage, a U-Net, a diffusion model nor a model of diffusers.',
      path,
    );
  const told = { model: modelOf(described), ...scaleOf(described) };
  if (isDiffusersConfig(config)) {
    if (options.ema) throw new UsageError(diffusersAverage);
    return inputOf(await openWeights(path), told);
  }
  const { weights, ema } = await openModel(path);
  if (options.ema && !ema)
    throw new UsageError(`${path} holds no moving average: convert it without --ema.`);
  const stored = await storedScale(weights);
  const scale = stored === undefined ? {} : { scaleFactor: stored };
  const average = ema && overlay(ema, weights);
  return inputOf(options.ema ? average! : weights, {
    ...told,
    ...scale,
    ...(average && !options.ema && { ema: () => underOwnKeys(average) }),
    companions: await companionsOf(path),
  });
}

/** Files that a model's folder may hold beside its weights. */
export const companionFiles = [classNamesFile, tokenizerFile];

async function companionsOf(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  const found = companionFiles.filter((name) => names.includes(name));
  return found.map((name) => join(folder, name));
}

async function openFile(path: string, options: ConvertOptions): Promise<Input> {
  const whole = await openCheckpoint(path);
  const given = await describedByOptions(options);
  const described = given && partOf(given, whole, options.prefix);
  const prefix = options.prefix ?? (described ? prefixOf(described, whole) : '');
  const averaged = options.ema ? withAverage(whole, prefix) : whole;
  const reader = prefix === '' ? averaged : withPrefix(averaged, prefix);
  if (reader.keys.length === 0)
    throw new ArgumentError(`${path} has no tensor whose name begins with '${prefix}'.`);
  // what was measured counts before what was given beforehand
  const stored = await storedScale(whole);
  const scale = stored === undefined ? described && scaleOf(described) : { scaleFactor: stored };
  return inputOf(reader, { model: described && modelOf(described), ...scale });
}

function inputOf(
  reader: StateReader,
  told: Pick<Input, 'model' | 'scaleFactor' | 'ema' | 'companions'>,
): Input {
  const original = told.model?.fromDiffusers(reader) ?? (() => underOwnKeys(reader));
  return { ...told, origin: reader.origin, files: [reader.origin], stored: reader.keys, original };
}

function underOwnKeys(reader: StateReader): ConvertedReader {
  return { ...withPrefix(reader, ''), sourcesOf: (key) => [key] };
}

/** What a configuration says. */
type Description = { readonly scaleFactor?: number } & (
  | { readonly firstStage: FirstStageSpec }
  | { readonly unet: UNetConfig }
  | { readonly diffusion: LatentDiffusionSpec }
);

function modelOf(description: Description): ConvertibleModel {
  if ('unet' in description) return unetModel(description.unet);
  if ('diffusion' in description) return diffusionModel(description.diffusion);
  return firstStageModel(description.firstStage);
}

const diffusionOf = (diffusion: LatentDiffusionSpec): Description => ({
  diffusion,
  ...(diffusion.scaleFactor && { scaleFactor: diffusion.scaleFactor }),
});

const scaleOf = ({ scaleFactor }: Description) => (scaleFactor ? { scaleFactor } : {});

const networkPrefix = 'model.diffusion_model.';
const firstStagePrefix = 'first_stage_model.';

// A checkpoint may hold, and a prefix may name, one part of a diffusion model.
function partOf(description: Description, reader: StateReader, prefix?: string): Description {
  if (!('diffusion' in description)) return description;
  const { unet, firstStage, scaleFactor } = description.diffusion;
  if (prefix?.endsWith('diffusion_model.')) return { unet };
  const whole = reader.keys.some((key) => key.startsWith(networkPrefix));
  return prefix === undefined && whole
    ? description
    : { firstStage, ...(scaleFactor ? { scaleFactor } : {}) };
}

function prefixOf(description: Description, reader: StateReader): string {
  if ('diffusion' in description) return '';
  const inside = 'unet' in description ? networkPrefix : firstStagePrefix;
  return reader.keys.some((key) => key.startsWith(inside)) ? inside : '';
}

/** The network that `--preset` or `--config` names. */
async function describedByOptions(options: ConvertOptions): Promise<Description | null> {
  const { preset, config } = options;
  if (preset !== undefined && config !== undefined)
    throw new UsageError('give either --preset or --config.');
  if (preset !== undefined) {
    const spec = presetNamed({ ...firstStagePresets, ...latentDiffusionPresets }, preset);
    return 'kind' in spec ? { firstStage: spec } : diffusionOf(spec);
  }
  if (config === undefined) return null;
  const tree = await loadConfigTree([config], []); // JSON is YAML too
  return describedBy(toPlain(tree), config) ?? originalOf(tree);
}

// A configuration of ours or of diffusers.
function describedBy(config: unknown, path: string): Description | null {
  try {
    if (isDiffusersConfig(config)) return diffusersOf(config);
    const given = (config ?? {}) as Record<string, unknown>;
    const { firstStage, unet, latentDiffusion: diffusion, scaleFactor } = given;
    if (diffusion !== undefined) {
      checkLatentDiffusionSpec(diffusion);
      return diffusionOf(diffusion);
    }
    if (unet !== undefined) {
      checkUNetConfig(unet);
      return { unet };
    }
    if (firstStage === undefined) return null;
    checkFirstStageSpec(firstStage);
    const usable =
      typeof scaleFactor === 'number' && Number.isFinite(scaleFactor) && scaleFactor > 0;
    return { firstStage, ...(usable ? { scaleFactor } : {}) };
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new FileError(error.message, path);
  }
}

function diffusersOf(config: Record<string, unknown>): Description {
  if ((diffusersUNets as readonly unknown[]).includes(config._class_name))
    return { unet: fromDiffusersUNetConfig(config) };
  const { spec: firstStage, scaleFactor } = fromDiffusersConfig(config);
  return { firstStage, scaleFactor };
}

// The original's: of a diffusion model, or of a first stage by itself or inside one.
function originalOf(tree: ConfigNode): Description {
  if (nodeAt(tree, ['model', 'params', 'unet_config'])) {
    return diffusionOf(readModel(tree, diffusionModelTargets).spec.spec);
  }
  const nested = nodeAt(tree, ['model', 'params', 'first_stage_config']);
  if (nested) return { firstStage: firstStageTargets.read(nested, 'first_stage_config').spec.spec };
  const read = nodeAt(tree, ['model'])
    ? readModel(tree, firstStageTargets)
    : firstStageTargets.read(tree, 'model');
  return { firstStage: read.spec.spec };
}

// Diffusion models hold the factor as a buffer where it was measured.
async function storedScale(reader: StateReader): Promise<number | undefined> {
  if (!reader.has('scale_factor') || reader.info('scale_factor').shape.length > 0) return undefined;
  const stored = await reader.get('scale_factor');
  const value = await stored.item();
  stored.dispose();
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

/**
 * The same keys with the moving average where there is one. The original names it after the parameter
 * without dots; in diffusion models the average is of what lies under `model.`, and the name too.
 */
function withAverage(reader: StateReader, prefix: string): StateReader {
  const average = (key: string): string | undefined =>
    [key, key.replace(/^model\./, '')]
      .map((name) => `model_ema.${name.replaceAll('.', '')}`)
      .find((name) => reader.has(name));
  const keys = reader.keys.filter((key) => !key.startsWith('model_ema.'));
  if (!keys.some((key) => key.startsWith(prefix) && average(key)))
    throw new ArgumentError(
      `${reader.origin} holds no moving average of '${prefix}*': convert it without --ema.`,
    );
  return {
    origin: reader.origin,
    keys,
    has: (key) => !key.startsWith('model_ema.') && reader.has(key),
    info: (key) => reader.info(average(key) ?? key),
    get: (key) => reader.get(average(key) ?? key),
  };
}
