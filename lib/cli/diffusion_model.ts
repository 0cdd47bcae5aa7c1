// The diffusion model that `--model`, `--preset` and `--config` name.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { diffusionModelTargets, loadConfigTree, readModel } from '../config/index.js';
import { setDefaultDevice } from '../device.js';
import { FileError } from '../errors.js';
import { readClassNames } from '../io/class_names.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { fileError } from '../io/file_error.js';
import { loadConfig, openModel } from '../io/model_folder.js';
import {
  checkLatentDiffusionSpec,
  holdsAverage,
  latentDiffusionPresets,
  loadLatentDiffusion,
  type LatentDiffusion,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import { UsageError } from './run.js';
import { presetNamed } from './presets.js';
import type { SamplingCommandOptions } from './sampling_options.js';

/** A model, and what is known of it. */
export interface OpenedModel {
  readonly model: LatentDiffusion;
  /** the file or folder that it came from */
  readonly path: string;
  readonly weights: 'ema' | 'raw';
  /** names of its classes by their ids; empty where nothing tells */
  readonly classes: readonly string[];
}

type Options = Pick<
  SamplingCommandOptions,
  'model' | 'preset' | 'config' | 'ema' | 'raw' | 'device'
> & { classNames?: string };

/**
 * Loads the model onto `--device`.
 * @param refuse sees what will be loaded, and of which file or folder, before it is
 */
export async function openDiffusionModel(
  options: Options,
  refuse: (spec: LatentDiffusionSpec, path: string) => void | Promise<void>,
): Promise<OpenedModel> {
  if (options.ema && options.raw) throw new UsageError('give either --ema or --raw.');
  if (options.device !== undefined) setDefaultDevice(options.device);
  const { path, spec } = await locate(options);
  await refuse(spec, path);
  const classes = await readClassNames(path, options.classNames);
  const averaged = await isAveraged(path);
  if (options.ema && !averaged)
    throw new UsageError(`${path} holds no moving average: sample without --ema.`);
  const weights = averaged && !options.raw ? 'ema' : 'raw';
  return { model: await loadLatentDiffusion(path, spec, { weights }), path, weights, classes };
}

async function locate(options: Options): Promise<{ path: string; spec: LatentDiffusionSpec }> {
  const { model, preset, config } = options;
  const entry = await stat(model).catch((error: unknown) => {
    throw fileError(model, 'cannot be read', error);
  });
  if (!entry.isDirectory()) {
    if (preset !== undefined && config !== undefined)
      throw new UsageError('give either --preset or --config.');
    if (preset !== undefined)
      return { path: model, spec: presetNamed(latentDiffusionPresets, preset) };
    if (config !== undefined) return { path: model, spec: await configured(config) };
    throw new UsageError(
      `${model} is a file: name its architecture with --preset (${knownPresets}) or --config.`,
    );
  }
  if (preset !== undefined || config !== undefined)
    throw new UsageError(
      `${model} is a folder, which says itself what it is: no --preset or --config.`,
    );
  // a model folder; a run's, with the model inside; the original's, with a checkpoint and its configuration
  for (const path of [model, join(model, 'model')])
    if (await exists(join(path, 'config.json'))) return { path, spec: await stored(path) };
  const [checkpoint, yaml] = [join(model, 'model.ckpt'), join(model, 'config.yaml')];
  if ((await exists(checkpoint)) && (await exists(yaml)))
    return { path: checkpoint, spec: await configured(yaml) };
  throw new FileError(
    (await exists(join(model, 'checkpoints')))
      ? 'the run has not finished, so it has no model yet. Go on with it: emulsion train --resume.'
      : 'the folder holds neither a model (config.json) nor a checkpoint (model.ckpt with config.yaml).',
    model,
  );
}

const knownPresets = Object.keys(latentDiffusionPresets).join(', ');

const configured = async (path: string): Promise<LatentDiffusionSpec> =>
  readModel(await loadConfigTree([path]), diffusionModelTargets).spec.spec;

async function stored(folder: string): Promise<LatentDiffusionSpec> {
  const spec = ((await loadConfig(folder)) as { latentDiffusion?: unknown } | null)
    ?.latentDiffusion;
  if (!spec)
    throw new FileError(
      'config.json describes no diffusion model: it has no "latentDiffusion".',
      folder,
    );
  try {
    checkLatentDiffusionSpec(spec);
  } catch (error) {
    throw new FileError(`config.json: ${(error as Error).message}`, folder);
  }
  return spec;
}

async function isAveraged(path: string): Promise<boolean> {
  if ((await stat(path)).isDirectory()) return (await openModel(path)).ema !== null;
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  return holdsAverage(checkpoint.keys);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
