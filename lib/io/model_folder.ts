// A saved model: a folder with config.json, the weights and, beside them, their moving average.
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '../tensor.js';
import { writeFilesAtomic, type Content } from './atomic.js';
import { fileError } from './file_error.js';
import { readJson, type Json } from './json.js';
import { readSafetensors, safetensorsContent, type SafetensorsFile } from './safetensors.js';
import type { TensorSource } from './state.js';

const configFile = 'config.json';
const weightsFile = 'model.safetensors';
/** @internal The moving average's, which not every folder has. */
export const averageFile = 'model_ema.safetensors';

type State = ReadonlyMap<string, Tensor | TensorSource>;

/**
 * Saves a model as a folder that {@link openModel} reads and whose weights PyTorch opens directly.
 * A model that was there stays until the new one is complete, and the configuration comes last: a folder
 * with a configuration is complete.
 *
 * @param model.config everything needed to build the network again
 * @param model.weights in PyTorch's layout, usually `module.exportState()`
 * @param model.ema the moving average under the same names
 * @param model.beside by name, other files that are of use with these weights only; null: one that is to go
 */
export async function saveModel(
  folder: string,
  model: {
    config: unknown;
    weights: State;
    ema?: State;
    beside?: ReadonlyMap<string, Content | null>;
  },
): Promise<void> {
  // Serialised first: a configuration that is no plain data must not leave a folder half written.
  const config = JSON.stringify(model.config, null, 2) + '\n';
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, 'cannot be created', error);
  }
  const metadata = { format: 'pt' }; // tells PyTorch's readers whose layout this is
  await writeFilesAtomic([
    [join(folder, weightsFile), safetensorsContent(model.weights, metadata)],
    // one that is there would be an average of other weights
    [join(folder, averageFile), model.ema ? safetensorsContent(model.ema, metadata) : null],
    ...[...(model.beside ?? [])].map(([name, content]) => [join(folder, name), content] as const),
    [join(folder, configFile), config],
  ]);
}

/** Opens a folder written by {@link saveModel}: its configuration, and its weights unread. */
export async function openModel(
  folder: string,
): Promise<{ config: Json; weights: SafetensorsFile; ema: SafetensorsFile | null }> {
  const config = await loadConfig(folder);
  const weights = await readSafetensors(join(folder, weightsFile));
  const ema = (await exists(join(folder, averageFile)))
    ? await readSafetensors(join(folder, averageFile))
    : null;
  return { config, weights, ema };
}

/** Reads `config.json` of a model folder. Its content comes from outside: check it before use. */
export function loadConfig(folder: string): Promise<Json> {
  return readJson(join(folder, configFile), 'configuration');
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
