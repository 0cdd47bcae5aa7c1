// What `emulsion convert` reads: tensors under the original's keys and, where it is told, the network.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { firstStageTargets, loadConfigTree, toPlain, type ConfigNode } from '../config/index.js';
import { nodeAt } from '../config/node.js';
import { ArgumentError, FileError } from '../errors.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { fileError } from '../io/file_error.js';
import { loadConfig, openModel } from '../io/model_folder.js';
import { overlay, withPrefix, type StateReader } from '../io/state.js';
import {
  checkFirstStageSpec,
  diffusersWeights,
  fromDiffusersConfig,
  isDiffusersConfig,
  type FirstStageSpec,
} from '../ldm/first_stage/index.js';
import { firstStagePresets } from '../ldm/presets/index.js';
import type { ConvertOptions } from './convert_checkpoint.js';
import { UsageError } from './run.js';

/** A file or folder, opened. */
export interface Input {
  readonly reader: StateReader;
  /** The network; null where nothing says what the tensors are. */
  readonly spec: FirstStageSpec | null;
  /** What latents are multiplied by, if the input tells. */
  readonly scaleFactor?: number;
  /** The moving average of the same weights, where it lies beside them. */
  readonly ema?: StateReader;
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
  const config = await loadConfig(path);
  const model = describedBy(config, join(path, 'config.json'));
  if (!model)
    throw new FileError(
      'config.json describes neither a first stage nor a model of diffusers.',
      path,
    );
  if (isDiffusersConfig(config)) {
    if (options.ema) throw new UsageError(`${path}: folders of diffusers hold no moving average.`);
    return { ...model, reader: await openCheckpoint(join(path, diffusersWeights)) };
  }
  const { weights, ema } = await openModel(path);
  if (options.ema && !ema)
    throw new UsageError(`${path} holds no moving average: convert it without --ema.`);
  const average = ema && overlay(ema, weights);
  if (!average) return { ...model, reader: weights };
  return options.ema ? { ...model, reader: average } : { ...model, reader: weights, ema: average };
}

async function openFile(path: string, options: ConvertOptions): Promise<Input> {
  const whole = await openCheckpoint(path);
  const model = await modelOf(options);
  const inside = 'first_stage_model.';
  const automatic = model && whole.keys.some((key) => key.startsWith(inside)) ? inside : '';
  const prefix = options.prefix ?? automatic;
  const averaged = options.ema ? withAverage(whole, prefix) : whole;
  const reader = prefix === '' ? averaged : withPrefix(averaged, prefix);
  if (reader.keys.length === 0)
    throw new ArgumentError(`${path} has no tensor whose name begins with '${prefix}'.`);
  const scaleFactor = model?.scaleFactor ?? (await storedScale(whole));
  return { reader, spec: model?.spec ?? null, ...(scaleFactor ? { scaleFactor } : {}) };
}

/** The network that `--preset` or `--config` names. */
async function modelOf(options: ConvertOptions): Promise<Description | null> {
  const { preset, config } = options;
  if (preset !== undefined && config !== undefined)
    throw new UsageError('give either --preset or --config.');
  if (preset !== undefined) {
    const presets: Readonly<Record<string, FirstStageSpec>> = firstStagePresets;
    if (Object.hasOwn(presets, preset)) return { spec: presets[preset] };
    const known = Object.keys(presets).join(', ');
    throw new UsageError(`unknown preset '${preset}'. Known are ${known}.`);
  }
  if (config === undefined) return null;
  const tree = await loadConfigTree([config], []); // JSON is YAML too
  return describedBy(toPlain(tree), config) ?? { spec: originalSpec(tree) };
}

type Description = Pick<Input, 'scaleFactor'> & { spec: FirstStageSpec };

// A configuration of ours or of diffusers.
function describedBy(config: unknown, path: string): Description | null {
  try {
    if (isDiffusersConfig(config)) return fromDiffusersConfig(config);
    const { firstStage, scaleFactor } = (config ?? {}) as Record<string, unknown>;
    if (firstStage === undefined) return null;
    checkFirstStageSpec(firstStage);
    const usable =
      typeof scaleFactor === 'number' && Number.isFinite(scaleFactor) && scaleFactor > 0;
    return { spec: firstStage, ...(usable ? { scaleFactor } : {}) };
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new FileError(error.message, path);
  }
}

// The original's: of a first stage, or of a diffusion model with one.
function originalSpec(tree: ConfigNode): FirstStageSpec {
  const nested = nodeAt(tree, ['model', 'params', 'first_stage_config']);
  const model = nested ?? nodeAt(tree, ['model']) ?? tree;
  return firstStageTargets.read(model, nested ? 'first_stage_config' : 'model').spec.spec;
}

// Diffusion checkpoints hold the factor as a buffer.
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
