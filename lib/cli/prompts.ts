// Texts of a call as the ids that a model reads.
import { stat } from 'node:fs/promises';
import { tensor } from '../creation.js';
import { openTokenizer, type LatentDiffusionSpec, type TextTokenizer } from '../ldm/index.js';
import type { Tensor } from '../tensor.js';
import { UsageError } from './run.js';

/**
 * The tokenizer that `--tokenizer` names, or else that of the model's folder: opened before the model's weights are
 * read, which may take minutes.
 *
 * @param path the file or folder of the model
 */
export async function tokenizerOf(
  { tokenizer: given, model }: { tokenizer?: string; model: string },
  { conditioner }: LatentDiffusionSpec,
  path: string,
): Promise<TextTokenizer> {
  if (given === undefined && !(await stat(path)).isDirectory())
    throw new UsageError(
      `${model} is a checkpoint, which holds no tokenizer: name its files with --tokenizer.`,
    );
  return openTokenizer(given ?? path, conditioner);
}

/** Token ids of texts, int64 [N, T]. */
export function idsTensor(rows: readonly (readonly number[])[]): Tensor {
  const shape = [rows.length, rows[0].length];
  return tensor(BigInt64Array.from(rows.flat(), BigInt), { shape });
}
