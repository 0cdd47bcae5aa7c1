/** Tensors on their way to and from the folders of the diffusers library. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeFilesAtomic, type Content } from '../io/atomic.js';
import { fileError } from '../io/file_error.js';
import { safetensorsContent } from '../io/safetensors.js';
import type { StateReader, TensorSource } from '../io/state.js';

/** Where a diffusers folder keeps its configuration. */
export const diffusersConfigFile = 'config.json';

/** Where it keeps its weights. */
export const diffusersWeights = 'diffusion_pytorch_model.safetensors';

/** A tensor on the way from one file to another, with the keys under which its parts were found. */
export interface ConvertedTensor extends TensorSource {
  readonly from: readonly string[];
}

/** Named tensors on their way. */
export type ConvertedState = ReadonlyMap<string, ConvertedTensor>;

/** A reader of the original's keys that knows under which keys of the file it finds each. */
export interface ConvertedReader extends StateReader {
  sourcesOf(key: string): readonly string[];
}

// Names from before version 0.18, which older files still have.
const formerNames: Readonly<Record<string, string>> = {
  'to_q.': 'query.',
  'to_k.': 'key.',
  'to_v.': 'value.',
  'to_out.0.': 'proj_attn.',
};

/** A linear layer of diffusers' attention blocks, which are convolutions in the original. */
export const attentionLayer = /(?<=\.attentions\.\d+\.)(to_[qkv]|to_out\.0)\./;

/** The name under which a file has a tensor: the present one, or that of its attention's former names. */
export function storedName(reader: StateReader, name: string): string {
  const former = name.replace(attentionLayer, (layer) => formerNames[layer]);
  return !reader.has(name) && reader.has(former) ? former : name;
}

/** The same values in another shape. */
export function reshaped(source: ConvertedTensor, shape: readonly number[]): ConvertedTensor {
  const read = async () => {
    const stored = await source.read();
    const view = stored.reshape([...shape]);
    stored.dispose();
    return view;
  };
  return { ...source, shape, read };
}

/** What the files of a folder hold, by path: configurations, or tensors under diffusers' names. */
export type DiffusersFiles = ReadonlyMap<
  string,
  ConvertedState | Readonly<Record<string, unknown>>
>;

/** The two files of a single network. */
export function networkFiles(
  config: Readonly<Record<string, unknown>>,
  weights: ConvertedState,
): DiffusersFiles {
  return new Map<string, ConvertedState | Readonly<Record<string, unknown>>>([
    [diffusersWeights, weights],
    [diffusersConfigFile, config],
  ]);
}

/**
 * Writes a folder that diffusers' `from_pretrained` opens. What was there stays until all files are complete;
 * they are replaced in the given order, in which what describes the whole comes last.
 *
 * @param parts further files, by path within the folder
 */
export async function writeDiffusers(
  folder: string,
  files: DiffusersFiles,
  parts: ReadonlyMap<string, Content> = new Map(),
): Promise<void> {
  const contents = new Map(parts);
  for (const [name, content] of files)
    contents.set(
      name,
      content instanceof Map
        ? safetensorsContent(content, { format: 'pt' })
        : `${JSON.stringify(content, null, 2)}\n`,
    );
  const written = [...contents].map(([name, content]) => [join(folder, name), content] as const);
  for (const parent of new Set(written.map(([path]) => dirname(path)))) {
    try {
      await mkdir(parent, { recursive: true });
    } catch (error) {
      throw fileError(parent, 'cannot be created', error);
    }
  }
  await writeFilesAtomic(written);
}
