// The published models: parameters and keys of the originals, counted on narrow networks.
import { describe, expect, it } from 'vitest';
import {
  BertEmbedder,
  ClipTextEncoder,
  LatentDiffusion,
  latentDiffusionPresets,
  loadLatentDiffusion,
  noise,
  tidy,
  UNetModel,
  writeSafetensors,
  type FirstStageSpec,
  type LatentDiffusionPreset,
  type LatentDiffusionSpec,
  type Module,
  type TensorSource,
  type TypedArray,
  type UNetConfig,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

/** Of the instantiated originals: the network's parameters, keys of a checkpoint, whether it has an average. */
const published: Record<LatentDiffusionPreset, readonly [number, number, boolean]> = {
  celeba256: [274_056_163, 955, true],
  ffhq256: [274_056_163, 955, true],
  lsun_beds256: [274_056_163, 955, true],
  lsun_churches256: [294_966_916, 1303, true],
  cin256: [394_984_196, 1566, true],
  'cin256-v2': [400_920_579, 906, false],
  text2img256: [403_623_939, 2017, true],
  'txt2img-1p4B': [872_300_484, 1368, false],
  'layout2img-openimages256': [246_277_379, 3089, true],
  semantic_synthesis256: [215_229_315, 652, true],
  semantic_synthesis512: [215_229_315, 652, true],
  bsr_sr: [113_622_563, 831, true],
  inpainting_big: [387_245_827, 1216, true],
  rdm: [1_335_480_400, 1732, true],
  // sd-v1-4.ckpt holds three more: position_ids, and the counters of an average that is not there
  'stable-diffusion-v1': [859_520_964, 1142, false],
  // five more channels into the first convolution, by arithmetic: no file of it was counted
  'stable-diffusion-v1-inpainting': [859_520_964 + 5 * 320 * 9, 1142, false],
};

/**
 * A network's parameters are a polynomial of degree two in its width: each weight joins at most two widths.
 * Three narrow networks give its coefficients, and no large one is built.
 */
function countAt(width: number, build: (width: number) => Module): number {
  const [x1, x2, x3] = [8, 16, 24];
  const [y1, y2, y3] = [x1, x2, x3].map((narrow) => {
    const network = build(narrow);
    const count = network.parameterCount();
    network.dispose();
    return count;
  });
  const slope = (y2 - y1) / (x2 - x1);
  const bend = ((y3 - y2) / (x3 - x2) - slope) / (x3 - x1);
  return y1 + slope * (width - x1) + bend * (width - x1) * (width - x2);
}

// Norm groups and heads do not count, but must divide a narrow width.
const narrowUNet = (unet: UNetConfig, modelChannels: number): UNetConfig => ({
  ...unet,
  modelChannels,
  normGroups: 8,
  ...(unet.numHeadChannels && { numHeadChannels: 8 }),
});

const narrowFirstStage = (spec: FirstStageSpec): FirstStageSpec =>
  spec.kind === 'identity'
    ? spec
    : { ...spec, ddconfig: { ...spec.ddconfig, ch: 8, normGroups: 8 } };

function narrowConditioner<Spec extends LatentDiffusionSpec['conditioner']>(spec: Spec): Spec {
  if (spec?.kind === 'hybrid') return { ...spec, crossattn: narrowConditioner(spec.crossattn) };
  if (spec?.kind === 'clip') return { ...spec, nEmbed: 8, nHead: 2, vocabSize: 9 };
  return spec?.kind === 'bert' ? { ...spec, nEmbed: 8 } : spec;
}

/** The same layers with few channels. */
function narrow({ unet, firstStage, conditioner, ...spec }: LatentDiffusionSpec) {
  return {
    ...spec,
    unet: { ...narrowUNet(unet, 8), ...(unet.contextDim && { contextDim: 8 }) },
    firstStage: narrowFirstStage(firstStage),
    conditioner: narrowConditioner(conditioner),
  } satisfies LatentDiffusionSpec;
}

describe.each(Object.entries(published))('%s', (name, [parameters, keys, hasAverage]) => {
  const spec = latentDiffusionPresets[name as LatentDiffusionPreset];

  it('has the network of the original', () => {
    const count = countAt(
      spec.unet.modelChannels,
      (width) => new UNetModel(narrowUNet(spec.unet, width)),
    );
    expect(count).toBe(parameters);
  });

  it('has as many keys as the published checkpoint', () => {
    const model = new LatentDiffusion(narrow(spec));
    const average = hasAverage ? model.model.namedParameters().size + 2 : 0;
    expect(model.exportState().size + average).toBe(keys);
    model.dispose();
  });
});

describe('text encoders', () => {
  it("are CLIP's in Stable Diffusion", () => {
    const count = countAt(768, (nEmbed) => new ClipTextEncoder({ nEmbed, nHead: 8 }));
    expect(count).toBe(123_060_480);
  });

  const { conditioner: large } = latentDiffusionPresets['txt2img-1p4B'];
  const { conditioner: small } = latentDiffusionPresets.text2img256;
  const { conditioner: layout } = latentDiffusionPresets['layout2img-openimages256'];
  it.each([
    [large, 581_994_042],
    [small, 186_154_682],
    [layout, 58_858_496],
  ] as const)('%o', (spec, parameters) => {
    if (spec?.kind !== 'bert') throw new Error('not a text encoder');
    const { kind: _, ...config } = spec;
    const count = countAt(config.nEmbed, (nEmbed) => new BertEmbedder({ ...config, nEmbed }));
    expect(count).toBe(parameters);
  });
});

/** The names that 'a.{0..2}.{weight,bias}' stands for, the original's way to write many keys at once. */
function named(pattern: string): string[] {
  const braces = /\{([^}]+)\}/.exec(pattern);
  if (!braces) return [pattern];
  const [whole, inside] = braces;
  const [first, last] = inside.split('..').map(Number);
  const choices = inside.includes('..')
    ? Array.from({ length: last - first + 1 }, (_, i) => String(first + i))
    : inside.split(',');
  return choices.flatMap((choice) => named(pattern.replace(whole, choice)));
}

/** BERT's kind, 32 layers: attention and feed-forward by turns. */
const bertKeys = [
  '{token_emb,pos_emb.emb}.weight',
  'attn_layers.layers.{0..63}.0.{weight,bias}',
  ...Array.from({ length: 32 }, (_, k) => [
    `attn_layers.layers.${2 * k}.1.{to_q,to_k,to_v}.weight`,
    `attn_layers.layers.${2 * k}.1.to_out.{weight,bias}`,
    `attn_layers.layers.${2 * k + 1}.1.net.{0.0,2}.{weight,bias}`,
  ]).flat(),
  '{norm,to_logits}.{weight,bias}',
].flatMap(named);

const clipLayer = 'text_model.encoder.layers.{0..11}';
const clipKeys = [
  'text_model.embeddings.{token,position}_embedding.weight',
  `${clipLayer}.{layer_norm1,layer_norm2,mlp.fc1,mlp.fc2}.{weight,bias}`,
  `${clipLayer}.self_attn.{q,k,v,out}_proj.{weight,bias}`,
  'text_model.final_layer_norm.{weight,bias}',
].flatMap(named);

/** The autoencoder with f = 8 and two blocks a level, wider from the second to the third of four levels. */
const stageKeys = [
  '{encoder,decoder}.{conv_in,conv_out,norm_out}.{weight,bias}',
  '{encoder,decoder}.mid.block_{1,2}.{norm,conv}{1,2}.{weight,bias}',
  '{encoder,decoder}.mid.attn_1.{norm,q,k,v,proj_out}.{weight,bias}',
  'encoder.down.{0..3}.block.{0,1}.{norm,conv}{1,2}.{weight,bias}',
  'encoder.down.{1,2}.block.0.nin_shortcut.{weight,bias}',
  'encoder.down.{0..2}.downsample.conv.{weight,bias}',
  'decoder.up.{0..3}.block.{0..2}.{norm,conv}{1,2}.{weight,bias}',
  'decoder.up.{0,1}.block.0.nin_shortcut.{weight,bias}',
  'decoder.up.{1..3}.upsample.conv.{weight,bias}',
  '{quant,post_quant}_conv.{weight,bias}',
].flatMap(named);

const networkKey = new RegExp(
  [
    'time_embed[.][02]|out[.][02]|input_blocks[.]0[.]0',
    'input_blocks[.][0-9]+[.]0[.]op|output_blocks[.][0-9]+[.][12][.]conv',
    '(input_blocks[.][0-9]+|middle_block|output_blocks[.][0-9]+)[.][012][.](' +
      'in_layers[.][02]|emb_layers[.]1|out_layers[.][03]|skip_connection|norm|proj_in|proj_out|' +
      'transformer_blocks[.]0[.](attn[12][.](to_[qkv]|to_out[.]0)|ff[.]net[.](0[.]proj|2)|norm[123]))',
  ]
    .map((names) => `^(${names})[.](weight|bias)$`)
    .join('|'),
);

/** The keys below a prefix, without it. */
const below = (prefix: string, keys: Iterable<string>): string[] =>
  [...keys].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));

/** Noise in the place of weights, of which a fresh model has many that are alike: zeros and ones. */
const noisy = (state: ReadonlyMap<string, TensorSource>): Map<string, TensorSource> =>
  new Map(
    [...state].map(([key, source], step) => {
      const read = () => noise(source.shape, { seed: 1, step });
      return [key, /^(model|\w+_stage_model)\./.test(key) ? { ...source, read } : source];
    }),
  );

const bytes = ({ buffer, byteOffset, byteLength }: TypedArray): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
const valuesOf = (source: TensorSource) => tidy(async () => (await source.read()).data());

describe('checkpoints of text to image', () => {
  const inFolder = temporaryFolder();

  it.each([
    ['txt2img-1p4B', bertKeys],
    ['stable-diffusion-v1', clipKeys],
    ['stable-diffusion-v1-inpainting', clipKeys],
  ] as const)('%s load by key: network, first stage and text encoder', async (name, encoder) => {
    const spec = narrow(latentDiffusionPresets[name]);
    const model = new LatentDiffusion(spec);
    const state = noisy(model.exportState());
    const network = below('model.diffusion_model.', state.keys());
    expect(network.filter((key) => !networkKey.test(key))).toEqual([]);
    expect(below('first_stage_model.', state.keys()).sort()).toEqual([...stageKeys].sort());
    const encoderKeys = below('cond_stage_model.transformer.', state.keys());
    expect(encoderKeys.sort()).toEqual([...encoder].sort());

    const path = inFolder(`${name}.safetensors`);
    await writeSafetensors(path, state);
    const loaded = await loadLatentDiffusion(path, spec);
    for (const [key, source] of loaded.exportState()) {
      const [actual, expected] = [await valuesOf(source), await valuesOf(state.get(key)!)];
      expect(Buffer.compare(bytes(actual), bytes(expected)), key).toBe(0);
    }
    model.dispose();
    loaded.dispose();
  });
});
