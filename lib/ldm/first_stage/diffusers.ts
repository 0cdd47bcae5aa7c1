/**
 * Weights of first stages under the diffusers library's names. It numbers the decoder's levels from the
 * lowest resolution, and its attention holds linear layers [C, C] where the original has 1x1 convolutions.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ArgumentError } from '../../errors.js';
import { writeFileAtomic } from '../../io/atomic.js';
import { fileError } from '../../io/file_error.js';
import { writeSafetensors } from '../../io/safetensors.js';
import type { StateReader, TensorSource } from '../../io/state.js';
import { withDefaults } from './config.js';
import { toDiffusersConfig, type DiffusersFirstStage } from './diffusers_config.js';
import type { FirstStageSpec } from './first_stage.js';

const configFile = 'config.json';

/** Where a diffusers folder keeps its weights. */
export const diffusersWeights = 'diffusion_pytorch_model.safetensors';

// In this order: later ones see what earlier ones wrote. The decoder's levels are renumbered apart.
const renames: readonly [RegExp, string][] = [
  [/^encoder\.down\./, 'encoder.down_blocks.'],
  [/\.block\.(\d+)\./, '.resnets.$1.'],
  [/\.attn\.(\d+)\./, '.attentions.$1.'],
  [/\.mid\.block_1\./, '.mid_block.resnets.0.'],
  [/\.mid\.block_2\./, '.mid_block.resnets.1.'],
  [/\.mid\.attn_1\./, '.mid_block.attentions.0.'],
  [/\.downsample\./, '.downsamplers.0.'],
  [/\.upsample\./, '.upsamplers.0.'],
  [/\.nin_shortcut\./, '.conv_shortcut.'],
  [/\.norm_out\./, '.conv_norm_out.'],
  [/(\.attentions\.\d+)\.norm\./, '$1.group_norm.'],
  [/(\.attentions\.\d+)\.([qkv])\./, '$1.to_$2.'],
  [/(\.attentions\.\d+)\.proj_out\./, '$1.to_out.0.'],
];

// Names from before version 0.18, which older files still have.
const formerNames: Readonly<Record<string, string>> = {
  'to_q.': 'query.',
  'to_k.': 'key.',
  'to_v.': 'value.',
  'to_out.0.': 'proj_attn.',
};
const attentionLayer = /(?<=\.attentions\.\d+\.)(to_[qkv]|to_out\.0)\./;

/** Whether a reader's keys are diffusers'. */
export function hasDiffusersKeys(keys: readonly string[]): boolean {
  return keys.some((key) => /(^|\.)encoder\.(down_blocks|mid_block)\./.test(key));
}

/**
 * diffusers' name of a tensor.
 * @param key the original's
 * @param levels how many there are
 */
export function diffusersKey(key: string, levels: number): string {
  const counted = key.replace(/^decoder\.up\.(\d+)\./, (_, level: string) => {
    return `decoder.up_blocks.${levels - 1 - Number(level)}.`;
  });
  return renames.reduce((name, [from, to]) => name.replace(from, to), counted);
}

/** Shape of the same tensor there. */
function diffusersShape(key: string, shape: readonly number[]): readonly number[] {
  return attentionLayer.test(key) && shape.length === 4 ? shape.slice(0, 2) : shape;
}

/** A tensor on the way from one file to another, with the key under which it was found. */
export interface ConvertedTensor extends TensorSource {
  readonly from: string;
}

/** Named tensors on their way. */
export type ConvertedState = ReadonlyMap<string, ConvertedTensor>;

/** A state under the original's keys as diffusers has it; `spec` tells the number of levels. */
export function toDiffusersState(spec: FirstStageSpec, state: ConvertedState): ConvertedState {
  const levels = levelsOf(spec);
  const renamed = [...state].map(([key, source]): [string, ConvertedTensor] => {
    const name = diffusersKey(key, levels);
    return [name, reshaped(source, diffusersShape(name, source.shape))];
  });
  return new Map(renamed);
}

/**
 * A diffusers state as the original has it: a reader of the original's keys, which finds each tensor under
 * its present or former name there. `keys` are those of the network that the file is for.
 */
export function fromDiffusersState(
  spec: FirstStageSpec,
  reader: StateReader,
  keys: readonly string[],
): StateReader & { sourceOf(key: string): string } {
  const levels = levelsOf(spec);
  const sourceOf = (key: string): string => {
    const name = diffusersKey(key, levels);
    const former = name.replace(attentionLayer, (layer) => formerNames[layer]);
    return !reader.has(name) && reader.has(former) ? former : name;
  };
  // Attention is all that differs in shape; which of both a file has depends on its age.
  const shapeOf = (key: string, shape: readonly number[]) =>
    attentionLayer.test(diffusersKey(key, levels)) && shape.length === 2 ? [...shape, 1, 1] : shape;
  const info = (key: string) => {
    const { shape, dtype } = reader.info(sourceOf(key));
    return { shape: shapeOf(key, shape), dtype };
  };
  return {
    origin: reader.origin,
    keys: keys.filter((key) => reader.has(sourceOf(key))),
    has: (key) => reader.has(sourceOf(key)),
    info,
    get: async (key) => {
      const source = { ...info(key), read: () => reader.get(sourceOf(key)), from: '' };
      return reshaped(source, source.shape).read();
    },
    sourceOf,
  };
}

function reshaped(source: ConvertedTensor, shape: readonly number[]): ConvertedTensor {
  const read = async () => {
    const stored = await source.read();
    const view = stored.reshape([...shape]);
    stored.dispose();
    return view;
  };
  return { ...source, shape, read };
}

function levelsOf(spec: FirstStageSpec): number {
  if (spec.kind === 'identity')
    throw new ArgumentError("diffusers: a first stage of kind 'identity' has no weights.");
  return withDefaults(spec.ddconfig).chMult.length;
}

/**
 * Writes a folder that diffusers' `from_pretrained` opens. Each file is replaced atomically and the
 * configuration comes last.
 *
 * @param state under the original's keys
 */
export async function saveDiffusers(
  folder: string,
  model: DiffusersFirstStage,
  state: ConvertedState,
): Promise<void> {
  const config = `${JSON.stringify(toDiffusersConfig(model), null, 2)}\n`;
  const weights = toDiffusersState(model.spec, state);
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, 'cannot be created', error);
  }
  await writeSafetensors(join(folder, diffusersWeights), weights, { format: 'pt' });
  await writeFileAtomic(join(folder, configFile), config);
}
