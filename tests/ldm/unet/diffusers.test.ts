// U-Nets under diffusers' names, some of which are written out by hand as facts of that library.
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  buildFirstStage,
  diffusersUNetNames,
  firstStagePresets,
  fromDiffusersUNetState,
  readSafetensors,
  saveDiffusers,
  saveDiffusersUNet,
  tensor,
  tidy,
  toDiffusersConfig,
  toDiffusersUNetConfig,
  toDiffusersUNetState,
  UNetModel,
  unetShapes,
  type ConvertedState,
  type FirstStageSpec,
  type StateReader,
  type UNetConfig,
} from '../../../lib/index.js';
import { bytesOf } from '../../../lib/io/tensor_bytes.js';
import { loadConfig } from '../../../lib/io/model_folder.js';
import { temporaryFolder } from '../../io/temporary.js';
import { unetConfigs } from './unet_configs.js';

const inFolder = temporaryFolder();

const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 2],
  numResBlocks: 1,
  attnResolutions: [],
  inChannels: 3,
  resolution: 16,
  zChannels: 3,
  normGroups: 4,
  doubleZ: false,
};

type Sources = ReadonlyMap<string, { shape: readonly number[]; read(): unknown }>;

const shapesOf = (state: Sources) =>
  Object.fromEntries([...state].map(([key, { shape }]) => [key, [...shape]]));

/** A network's weights as if they came from a file, all different. */
function weightsOf(config: UNetConfig): ConvertedState {
  const shapes = [...unetShapes(config)];
  return new Map(
    shapes.map(([key, shape], i) => {
      const count = shape.reduce((a, b) => a * b, 1);
      const read = () =>
        tensor(Float32Array.from({ length: count }, (_, j) => i + j / count)).reshape([...shape]);
      return [key, { shape, dtype: 'float32' as const, from: [key], read }];
    }),
  );
}

const readerOf = (state: ConvertedState): StateReader => ({
  origin: 'weights',
  keys: [...state.keys()],
  has: (key) => state.has(key),
  info: (key) => state.get(key)!,
  get: async (key) => state.get(key)!.read(),
});

describe.each(Object.entries(unetConfigs))('%s', (_, config) => {
  test('shapes are told without building the network', () => {
    const model = new UNetModel(config);
    expect(Object.fromEntries(unetShapes(config))).toEqual(shapesOf(model.exportState()));
    model.dispose();
  });

  test('to diffusers and back, bit for bit, every tensor once', async () => {
    const original = weightsOf(config);
    const there = toDiffusersUNetState(config, original);
    const names = [...original.keys()].flatMap(diffusersUNetNames(config));
    expect(new Set(names).size).toBe(names.length);
    expect([...there.keys()]).toEqual(names);
    expect(names.filter((name) => /input_blocks|output_blocks|_layers|qkv/.test(name))).toEqual([]);

    const back = fromDiffusersUNetState(config, readerOf(there), [...original.keys()]);
    expect(back.keys).toEqual([...original.keys()]);
    expect(back.keys.flatMap((key) => back.sourcesOf(key))).toEqual(names);
    for (const [key, source] of original) {
      expect(back.info(key), key).toEqual({ shape: source.shape, dtype: 'float32' });
      await tidy(async () => {
        const [a, b] = [await source.read(), await back.get(key)];
        expect(b.shape).toEqual(a.shape);
        expect(Buffer.compare(await bytesOf(a), await bytesOf(b)), key).toBe(0);
      });
    }
  });

  test('what is described is what is read', async () => {
    for (const [name, source] of toDiffusersUNetState(config, weightsOf(config)))
      await tidy(async () => expect((await source.read()).shape, name).toEqual(source.shape));
  });
});

test('names at both ends of each kind of layer', () => {
  const plain: Record<string, string | string[]> = {
    'time_embed.0.weight': 'time_embedding.linear_1.weight',
    'time_embed.2.bias': 'time_embedding.linear_2.bias',
    'input_blocks.0.0.weight': 'conv_in.weight',
    'input_blocks.1.0.in_layers.0.weight': 'down_blocks.0.resnets.0.norm1.weight',
    'input_blocks.2.0.in_layers.2.bias': 'down_blocks.0.resnets.1.conv1.bias',
    'input_blocks.3.0.op.weight': 'down_blocks.0.downsamplers.0.conv.weight',
    'input_blocks.4.0.emb_layers.1.weight': 'down_blocks.1.resnets.0.time_emb_proj.weight',
    'input_blocks.4.0.skip_connection.bias': 'down_blocks.1.resnets.0.conv_shortcut.bias',
    'input_blocks.4.1.norm.weight': 'down_blocks.1.attentions.0.group_norm.weight',
    'input_blocks.11.1.qkv.bias': [
      'down_blocks.3.attentions.1.to_q.bias',
      'down_blocks.3.attentions.1.to_k.bias',
      'down_blocks.3.attentions.1.to_v.bias',
    ],
    'middle_block.0.out_layers.0.weight': 'mid_block.resnets.0.norm2.weight',
    'middle_block.1.proj_out.weight': 'mid_block.attentions.0.to_out.0.weight',
    'middle_block.2.out_layers.3.weight': 'mid_block.resnets.1.conv2.weight',
    'output_blocks.0.0.in_layers.2.weight': 'up_blocks.0.resnets.0.conv1.weight',
    'output_blocks.2.1.proj_out.bias': 'up_blocks.0.attentions.2.to_out.0.bias',
    'output_blocks.2.2.conv.weight': 'up_blocks.0.upsamplers.0.conv.weight',
    'output_blocks.11.0.skip_connection.weight': 'up_blocks.3.resnets.2.conv_shortcut.weight',
    'out.0.bias': 'conv_norm_out.bias',
    'out.2.weight': 'conv_out.weight',
  };
  const celeba = {
    ...unetConfigs.celeba,
    channelMult: [1, 2, 3, 4],
    attentionResolutions: [8, 4, 2],
  };
  const namesOf = diffusersUNetNames(celeba);
  for (const [ours, theirs] of Object.entries(plain))
    expect(namesOf(ours)).toEqual([theirs].flat());

  const transformer = diffusersUNetNames(unetConfigs.text);
  const block = 'transformer_blocks.0';
  expect(transformer(`input_blocks.1.1.${block}.attn2.to_k.weight`)).toEqual([
    `down_blocks.0.attentions.0.${block}.attn2.to_k.weight`,
  ]);
  expect(transformer('middle_block.1.proj_in.bias')).toEqual([
    'mid_block.attentions.0.proj_in.bias',
  ]);
  expect(diffusersUNetNames(unetConfigs.churches)('input_blocks.2.0.in_layers.0.weight')).toEqual([
    'down_blocks.0.downsamplers.0.norm1.weight',
  ]);
  expect(() => namesOf('input_blocks.4.1.unheard.weight')).toThrow(ArgumentError);
  expect(() => namesOf('encoder.conv_in.weight')).toThrow(/no counterpart of the tensor encoder/);
});

test('a folder for from_pretrained, and the same of an autoencoder', async () => {
  const config = unetConfigs.celeba;
  await saveDiffusersUNet(inFolder('unet'), config, weightsOf(config));
  expect(await loadConfig(inFolder('unet'))).toEqual(toDiffusersUNetConfig(config));
  const { keys, metadata } = await readSafetensors(
    inFolder('unet/diffusion_pytorch_model.safetensors'),
  );
  expect([...keys].sort()).toEqual(
    [...toDiffusersUNetState(config, weightsOf(config)).keys()].sort(),
  );
  expect(metadata.get('format')).toBe('pt');

  const spec = { ...firstStagePresets['vq-f4'], ddconfig } as FirstStageSpec;
  const model = { spec, scaleFactor: 0.5 };
  const network = buildFirstStage(spec);
  const state = [...network.exportState()].map(([key, x]) => [key, { ...x, from: [key] }] as const);
  await saveDiffusers(inFolder('vqvae'), model, new Map(state));
  expect(await loadConfig(inFolder('vqvae'))).toEqual(toDiffusersConfig(model));
  network.dispose();
});

test('each head holds its q, k and v: they come apart by head', async () => {
  const config = { ...unetConfigs.celeba, modelChannels: 4, numHeadChannels: 2, normGroups: 2 };
  const key = 'middle_block.1.qkv.bias'; // 8 channels in 4 heads of 2
  const read = () => tensor(Array.from({ length: 24 }, (_, i) => i));
  const state = new Map([[key, { shape: [24], dtype: 'float32' as const, from: [key], read }]]);
  const parts = toDiffusersUNetState({ ...config, channelMult: [1, 2] }, state);
  const values = await Promise.all([...parts.values()].map(async (x) => (await x.read()).data()));
  expect(values.map((part) => [...part])).toEqual([
    [0, 1, 6, 7, 12, 13, 18, 19],
    [2, 3, 8, 9, 14, 15, 20, 21],
    [4, 5, 10, 11, 16, 17, 22, 23],
  ]);
});

test('former names, linear projections, and convolutions kept as such in attention blocks', async () => {
  const config = unetConfigs.celeba;
  const former = new Map(
    [...toDiffusersUNetState(config, weightsOf(config))].map(([name, source]) => [
      name
        .replace(/\.to_q\./, '.query.')
        .replace(/\.to_k\./, '.key.')
        .replace(/\.to_v\./, '.value.')
        .replace(/\.to_out\.0\./, '.proj_attn.'),
      source,
    ]),
  );
  const keys = [...unetShapes(config).keys()];
  const old = fromDiffusersUNetState(config, readerOf(former), keys);
  expect(old.keys).toEqual(keys);
  expect(old.sourcesOf('middle_block.1.qkv.weight')).toEqual(
    ['query', 'key', 'value'].map((part) => `mid_block.attentions.0.${part}.weight`),
  );

  const text = unetConfigs.text;
  const linear = new Map(
    [...toDiffusersUNetState(text, weightsOf(text))].map(([name, source]) => [
      name,
      /proj_(in|out)\.weight$/.test(name) ? { ...source, shape: source.shape.slice(0, 2) } : source,
    ]),
  );
  const reader = fromDiffusersUNetState(text, readerOf(linear), [...unetShapes(text).keys()]);
  for (const [key, shape] of unetShapes(text)) expect(reader.info(key).shape, key).toEqual(shape);

  const torn = new Map(toDiffusersUNetState(config, weightsOf(config)));
  const name = 'mid_block.attentions.0.to_k.weight';
  torn.set(name, { ...torn.get(name)!, shape: [8, 4] });
  expect(() =>
    fromDiffusersUNetState(config, readerOf(torn), keys).info('middle_block.1.qkv.weight'),
  ).toThrow(/to_v\.weight must have the same shape and dtype/);
});
