// Pipelines of diffusers as what `emulsion convert` reads, and their further parts, which go along as they are.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.js';
import type { Content } from '../io/atomic.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { fileError } from '../io/file_error.js';
import { readJson } from '../io/json.js';
import { readChunks, withFile } from '../io/positional.js';
import {
  diffusersIndexFile,
  diffusersPipelineFolders,
  diffusersWeights,
  fromDiffusersPipeline,
  fromDiffusersPipelineState,
  type DiffusersPipelineConfigs,
  type LatentDiffusionSpec,
} from '../ldm/index.js';
import type { StateReader } from '../io/state.js';
import type { Input } from './convert_input.js';
import { diffusionModel } from './convert_models.js';
import { refuseToOverwrite } from './picture_files.js';

/** Whether a folder is a pipeline. */
export function isPipeline(path: string): Promise<boolean> {
  return exists(join(path, diffusersIndexFile));
}

/** Opens the weights of a single network of diffusers, safetensors before PyTorch's own of older folders. */
export async function openWeights(folder: string): Promise<StateReader> {
  const [present, former] = [diffusersWeights, 'diffusion_pytorch_model.bin'];
  const path = join(folder, former);
  const isFormer = !(await exists(join(folder, present))) && (await exists(path));
  return openCheckpoint(isFormer ? path : join(folder, present));
}

/** What a pipeline's files say, with its weights opened and unread. */
export interface OpenedPipeline {
  readonly configs: DiffusersPipelineConfigs;
  readonly spec: LatentDiffusionSpec;
  /** Parts that have no counterpart here, by name. */
  readonly others: readonly string[];
  /** By folder. */
  readonly readers: ReadonlyMap<string, StateReader>;
}

/** The file that names a pipeline's class and parts. */
export const loadPipelineIndex = (path: string): Promise<Record<string, unknown>> =>
  loadJson(path, diffusersIndexFile);

/** Reads all that describes a pipeline. @throws FileError that says what has no counterpart here */
export async function readPipeline(path: string): Promise<OpenedPipeline> {
  const index = await loadPipelineIndex(path);
  const folders = naming(join(path, diffusersIndexFile), () => diffusersPipelineFolders(index));
  const configs = {
    index,
    unet: await loadJson(join(path, folders.unet)),
    firstStage: await loadJson(join(path, folders.firstStage)),
    scheduler: await loadJson(join(path, 'scheduler'), 'scheduler_config.json'),
  };
  const { spec, others } = naming(path, () => fromDiffusersPipeline(configs));
  // names of folders come from outside
  const strange = others.find((name) => !/^\w+$/.test(name));
  if (strange !== undefined)
    throw new FileError(`'${strange}' is no name of a part.`, join(path, diffusersIndexFile));
  const readers = new Map<string, StateReader>();
  for (const folder of [folders.unet, folders.firstStage])
    readers.set(folder, await openWeights(join(path, folder)));
  return { configs, spec, others, readers };
}

/** Opens a pipeline; reads no weights. */
export async function openPipeline(path: string): Promise<Input> {
  const { configs, spec, others, readers } = await readPipeline(path);
  return {
    origin: path,
    files: [path, ...[...readers.values()].map(({ origin }) => origin)],
    stored: [...readers].flatMap(([folder, { keys }]) => keys.map((key) => `${folder}/${key}`)),
    original: (keys) => fromDiffusersPipelineState(spec, readers, keys),
    model: diffusionModel(spec, configs),
    ...(spec.scaleFactor && { scaleFactor: spec.scaleFactor }),
    others,
  };
}

/**
 * The files of a pipeline's parts, for another folder; by their paths in both.
 * @throws FileError when a part is missing, or there already
 */
export async function filesOfParts(
  parts: readonly string[],
  from: string,
  to: string,
  options: { force?: boolean },
): Promise<Map<string, Content>> {
  const files = new Map<string, Content>();
  for (const part of parts) {
    const source = join(from, part);
    if (!(await exists(source)))
      throw new FileError(`no such folder, which ${diffusersIndexFile} names.`, source);
    await refuseToOverwrite(join(to, part), { ...options, inputs: [source] });
    for (const name of await filesBelow(from, part)) files.set(name, copyOf(join(from, name)));
  }
  return files;
}

// Snapshots of a hub are links into its store: what they lead to counts.
async function filesBelow(root: string, name: string): Promise<string[]> {
  const path = join(root, name);
  try {
    if (!(await stat(path)).isDirectory()) return [name];
    const files: string[] = [];
    for (const member of await readdir(path))
      files.push(...(await filesBelow(root, join(name, member))));
    return files;
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  }
}

const copyOf =
  (path: string): Content =>
  (append) =>
    withFile(path, async (file, size) => {
      for await (const piece of readChunks(path, file, 0, size)) await append(piece);
    });

async function loadJson(folder: string, name = 'config.json'): Promise<Record<string, unknown>> {
  const config = await readJson(join(folder, name), 'configuration');
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config;
  throw new FileError('not a configuration: it holds no options.', join(folder, name));
}

// What is wrong in a configuration is told with its file.
function naming<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new FileError(error.message, path);
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
