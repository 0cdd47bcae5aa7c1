/**
 * Weights of U-Nets under the diffusers library's names. It counts blocks per level, from the lowest
 * resolution on the way up, and splits `qkv` [3C, C, 1] into three linear layers [C, C].
 */
import { check } from '../../errors.js';
import type { StateReader } from '../../io/state.js';
import { concat, slice } from '../../ops/index.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import {
  networkFiles,
  reshaped,
  storedName,
  writeDiffusers,
  type ConvertedReader,
  type ConvertedState,
  type ConvertedTensor,
} from '../diffusers_state.js';
import { headsOf, withDefaults, type UNetConfig } from './config.js';
import { toDiffusersUNetConfig } from './diffusers_config.js';
import { unetLayers, unetShapes, type UNetLayer } from './outline.js';

const outermost: Readonly<Record<string, string>> = {
  'time_embed.0': 'time_embedding.linear_1',
  'time_embed.2': 'time_embedding.linear_2',
  label_emb: 'class_embedding',
  'input_blocks.0.0': 'conv_in',
  'out.0': 'conv_norm_out',
  'out.2': 'conv_out',
};

type Parts = Readonly<Record<string, readonly string[] | undefined>>;

const inResidual: Parts = {
  'in_layers.0': ['norm1'],
  'in_layers.2': ['conv1'],
  'emb_layers.1': ['time_emb_proj'],
  'out_layers.0': ['norm2'],
  'out_layers.3': ['conv2'],
  skip_connection: ['conv_shortcut'],
  // resampling without a residual block
  op: ['conv'],
  conv: ['conv'],
};

const inAttention: Parts = {
  norm: ['group_norm'],
  qkv: ['to_q', 'to_k', 'to_v'],
  proj_out: ['to_out.0'],
};

/** Whether a reader's keys are those of diffusers' U-Nets. */
export function hasDiffusersUNetKeys(keys: readonly string[]): boolean {
  return keys.some((key) => /^(time_embedding|mid_block)\./.test(key));
}

/**
 * diffusers' names of a network's tensors.
 *
 * @returns tells the names of a tensor from the original's: one, or for `qkv` those of q, k and v
 */
export function diffusersUNetNames(config: UNetConfig): (key: string) => readonly string[] {
  const { channelMult, useSpatialTransformer } = withDefaults(config);
  const layers = new Map(unetLayers(config).map((layer) => [layer.path, layer]));
  const last = channelMult.length - 1;
  return (key) => {
    const [, name, kind] = /^(.*)\.(weight|bias)$/.exec(key) ?? [];
    if (Object.hasOwn(outermost, name)) return [`${outermost[name]}.${kind}`];
    const path = /^(middle_block\.\d+|\w+_blocks\.\d+\.\d+)\./.exec(key)?.[1] ?? '';
    const layer = layers.get(path);
    const parts = layer && partsOf(layer, name.slice(path.length + 1), useSpatialTransformer);
    check(parts, () => `diffusers: its U-Nets have no counterpart of the tensor ${key}.`);
    return parts.map((part) => `${placeOf(layer!, last)}.${part}.${kind}`);
  };
}

// Transformers keep their names.
function partsOf({ kind }: UNetLayer, name: string, transformers: boolean) {
  if (kind !== 'attention') return inResidual[name];
  return transformers ? [name] : inAttention[name];
}

function placeOf({ half, kind, level, index }: UNetLayer, last: number): string {
  const block = {
    down: `down_blocks.${level}`,
    middle: 'mid_block',
    up: `up_blocks.${last - level}`,
  };
  const list = {
    residual: 'resnets',
    attention: 'attentions',
    resampling: half === 'down' ? 'downsamplers' : 'upsamplers',
  };
  return `${block[half]}.${list[kind]}.${index}`;
}

/** A state under the original's keys as diffusers has it. */
export function toDiffusersUNetState(config: UNetConfig, state: ConvertedState): ConvertedState {
  const namesOf = diffusersUNetNames(config);
  const groupsOf = headGroups(config);
  const converted = [...state].flatMap(([key, source]): [string, ConvertedTensor][] => {
    const names = namesOf(key);
    // 1x1 convolutions over tokens are linear layers there
    const shape = source.shape.length === 3 ? source.shape.slice(0, 2) : source.shape;
    if (names.length === 1) return [[names[0], reshaped(source, shape)]];
    const part = [shape[0] / 3, ...shape.slice(1)];
    return names.map((name, i) => {
      const read = async () => {
        const fused = await source.read();
        const taken = takePart(fused, i, groupsOf(part[0]), part);
        fused.dispose();
        return taken;
      };
      return [name, { ...source, shape: part, read }];
    });
  });
  return new Map(converted);
}

/**
 * A diffusers state as the original has it: a reader of the original's keys, which finds each tensor under
 * its present or former names there. `keys` are those of the network that the file is for.
 */
export function fromDiffusersUNetState(
  config: UNetConfig,
  reader: StateReader,
  keys: readonly string[],
): ConvertedReader {
  const namesOf = diffusersUNetNames(config);
  const groupsOf = headGroups(config);
  const shapes = unetShapes(config);
  const sourcesOf = (key: string) => namesOf(key).map((name) => storedName(reader, name));
  const has = (key: string) => sourcesOf(key).every((name) => reader.has(name));
  const info = (key: string) => {
    const names = sourcesOf(key);
    const [first, ...others] = names.map((name) => reader.info(name));
    const alike = others.every(
      ({ shape, dtype }) => shape.join() === first.shape.join() && dtype === first.dtype,
    );
    check(alike, () => `${reader.origin}: ${names.join(', ')} must have the same shape and dtype.`);
    const [to, ...from] = asOriginal(first.shape, shapes.get(key)!.length);
    return { shape: [names.length * to, ...from], dtype: first.dtype };
  };
  return {
    origin: reader.origin,
    keys: keys.filter(has),
    has,
    info,
    get: async (key) => {
      const { shape } = info(key);
      const parts = await Promise.all(sourcesOf(key).map((name) => reader.get(name)));
      const joined = tidy(() =>
        parts.length === 1
          ? parts[0].reshape(shape)
          : joinParts(parts, groupsOf(shape[0] / 3), shape),
      );
      for (const part of parts) part.dispose();
      return joined;
    },
    sourcesOf,
  };
}

/**
 * Writes a folder that diffusers' `from_pretrained` opens.
 *
 * @param state under the original's keys
 */
export async function saveDiffusersUNet(
  folder: string,
  config: UNetConfig,
  state: ConvertedState,
): Promise<void> {
  const files = networkFiles(toDiffusersUNetConfig(config), toDiffusersUNetState(config, state));
  await writeDiffusers(folder, files);
}

// Whether a matrix has a kernel of 1 or 1x1 after it depends on the file: diffusers' own age and options.
function asOriginal(shape: readonly number[], rank: number): readonly number[] {
  const isMatrix = shape.length >= 2 && shape.slice(2).every((extent) => extent === 1);
  return isMatrix ? [...shape.slice(0, 2), ...Array<number>(rank - 2).fill(1)] : shape;
}

// How many times q, k and v take turns in the 3C channels: once per head, or once altogether.
function headGroups(config: UNetConfig): (channels: number) => number {
  const full = withDefaults(config);
  return (channels) =>
    full.useNewAttentionOrder ? 1 : headsOf(channels, full, full.numHeads).heads;
}

function takePart(fused: Tensor, index: number, groups: number, shape: readonly number[]): Tensor {
  return tidy(() =>
    slice(fused.reshape([groups, 3, -1]), [null, [index, index + 1]]).reshape([...shape]),
  );
}

function joinParts(parts: readonly Tensor[], groups: number, shape: readonly number[]): Tensor {
  return concat(
    parts.map((part) => part.reshape([groups, 1, -1])),
    1,
  ).reshape([...shape]);
}
