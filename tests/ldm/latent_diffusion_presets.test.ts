// The published models: parameters and keys of the originals, counted on narrow networks.
import { describe, expect, it } from 'vitest';
import {
  BertEmbedder,
  ClipTextEncoder,
  LatentDiffusion,
  latentDiffusionPresets,
  loadLatentDiffusion,
  UNetModel,
  writeSafetensors,
  type FirstStageSpec,
  type LatentDiffusionPreset,
  type LatentDiffusionSpec,
  type Module,
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

describe('checkpoints of text to image', () => {
  const inFolder = temporaryFolder();
  const unet = 'model.diffusion_model.';
  const encoder = 'cond_stage_model.transformer.';
  const shared = [
    `${unet}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight`,
    `${unet}output_blocks.11.1.proj_out.weight`,
    'first_stage_model.encoder.mid.attn_1.q.weight',
    'first_stage_model.post_quant_conv.bias',
    'first_stage_model.decoder.up.3.block.2.conv1.weight',
  ];

  it.each([
    ['txt2img-1p4B', ['attn_layers.layers.63.1.net.2.weight', 'pos_emb.emb.weight', 'norm.bias']],
    [
      'stable-diffusion-v1',
      [
        'text_model.embeddings.position_embedding.weight',
        'text_model.encoder.layers.11.self_attn.out_proj.bias',
        'text_model.encoder.layers.11.mlp.fc1.weight',
        'text_model.final_layer_norm.weight',
      ],
    ],
    ['stable-diffusion-v1-inpainting', ['text_model.encoder.layers.11.mlp.fc1.weight']],
  ] as const)('%s load by key: network, first stage and text encoder', async (name, own) => {
    const spec = narrow(latentDiffusionPresets[name]);
    const model = new LatentDiffusion(spec);
    const path = inFolder(`${name}.safetensors`);
    const state = model.exportState();
    expect([...state.keys()]).toEqual(
      expect.arrayContaining([...shared, ...own.map((key) => encoder + key)]),
    );
    await writeSafetensors(path, state);
    const loaded = await loadLatentDiffusion(path, spec);
    const parts = [model, loaded].map(({ cond_stage_model: part }) => part!.parameters().at(-3)!);
    expect(await parts[0].data()).toEqual(await parts[1].data());
    model.dispose();
    loaded.dispose();
  });
});
