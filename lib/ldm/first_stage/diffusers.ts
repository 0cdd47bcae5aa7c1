/**
 * Weights of first stages under the diffusers library's names. It numbers the decoder's levels from the
 * lowest resolution, and its attention holds linear layers [C, C] where the original has 1x1 convolutions.
 */
import { ArgumentError } from '../../errors.js';
import type { StateReader } from '../../io/state.js';
import {
  attentionLayer,
  networkFiles,
  reshaped,
  storedName,
  writeDiffusers,
  type ConvertedReader,
  type ConvertedState,
  type ConvertedTensor,
} from '../diffusers_state.js';
import { withDefaults } from './config.js';
import { toDiffusersConfig, type DiffusersFirstStage } from './diffusers_config.js';
import type { FirstStageSpec } from './first_stage.js';

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
): ConvertedReader {
  const levels = levelsOf(spec);
  const sourceOf = (key: string) => storedName(reader, diffusersKey(key, levels));
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
      const source = { ...info(key), read: () => reader.get(sourceOf(key)), from: [] };
      return reshaped(source, source.shape).read();
    },
    sourcesOf: (key) => [sourceOf(key)],
  };
}

function levelsOf(spec: FirstStageSpec): number {
  if (spec.kind === 'identity')
    throw new ArgumentError("diffusers: a first stage of kind 'identity' has no weights.");
  return withDefaults(spec.ddconfig).chMult.length;
}

/**
 * Writes a folder that diffusers' `from_pretrained` opens.
 *
 * @param state under the original's keys
 */
export async function saveDiffusers(
  folder: string,
  model: DiffusersFirstStage,
  state: ConvertedState,
): Promise<void> {
  const config = toDiffusersConfig(model);
  await writeDiffusers(folder, networkFiles(config, toDiffusersState(model.spec, state)));
}
