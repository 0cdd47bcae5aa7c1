// Outlines: networks' tensors by their shapes are those of the networks themselves.
import { describe, expect, test } from 'vitest';
import { firstStageParameters } from '../../lib/cli/model_parts.js';
import {
  buildConditionEncoder,
  buildFirstStage,
  conditionerShapes,
  firstStagePresets,
  firstStageShapes,
  latentDiffusionPresets,
  type ConditionerSpec,
  type FirstStageConfig,
  type FirstStagePreset,
  type FirstStageSpec,
  type LatentDiffusionPreset,
  type Module,
} from '../../lib/index.js';

function shapesOf(model: Module | null): Record<string, readonly number[]> {
  if (!model) return {};
  const shapes = [...model.exportState()].map(([key, { shape }]) => [key, shape] as const);
  model.dispose();
  return Object.fromEntries(shapes);
}

const valuesIn = (shapes: ReadonlyMap<string, readonly number[]>): number =>
  [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

const ddconfig: FirstStageConfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 2, 2],
  numResBlocks: 2,
  attnResolutions: [16],
  inChannels: 3,
  resolution: 32,
  zChannels: 4,
  normGroups: 4,
};
const kl = (more: Partial<FirstStageConfig> = {}): FirstStageSpec => ({
  kind: 'kl',
  ddconfig: { ...ddconfig, ...more },
  embedDim: 3,
});
const vq: FirstStageSpec = {
  kind: 'vq',
  ddconfig: { ...ddconfig, doubleZ: false },
  embedDim: 3,
  nEmbed: 7,
};

describe('first stages', () => {
  test.each<[string, FirstStageSpec]>([
    ['of the KL kind', kl()],
    ['of any resolution', kl({ resolution: 36, attnResolutions: [9, 18, 36] })],
    ['with linear attention', kl({ attnType: 'linear' })],
    ['without attention', kl({ attnType: 'none', resampWithConv: false })],
    ['of one level', kl({ chMult: [2], numResBlocks: 0 })],
    ['of labels', { ...kl(), colorizeNlabels: 5 } as FirstStageSpec],
    ['of the VQ kind', vq],
    ['for diffusion', { ...vq, kind: 'vq-interface' }],
    [
      'with a codebook that moves',
      { ...vq, codebookEma: {}, restartDeadCodes: { every: 5 }, remap: [1, 3] },
    ],
    ['that are none', { kind: 'identity' }],
  ])('%s', (_, spec) => {
    const built = buildFirstStage(spec);
    expect(firstStageParameters(spec)).toBe(built.parameterCount());
    expect(Object.fromEntries(firstStageShapes(spec))).toEqual(shapesOf(built));
  });

  // counted on the published modules
  test.each<[FirstStagePreset, number]>([
    ['kl-f4', 55_312_063],
    ['kl-f8', 83_653_863],
    ['kl-f16', 69_610_963],
    ['kl-f32', 103_880_131],
    ['vq-f4', 55_322_782],
    ['vq-f4-noattn', 53_219_486],
    ['vq-f8', 67_717_295],
    ['vq-f8-n256', 67_652_783],
    ['vq-f16', 69_593_371],
  ])('%s has the published number of parameters', (name, parameters) => {
    expect(valuesIn(firstStageShapes(firstStagePresets[name]))).toBe(parameters);
  });
});

describe('conditioners', () => {
  const bert: ConditionerSpec = { kind: 'bert', nEmbed: 6, nLayer: 2, vocabSize: 11, maxSeqLen: 5 };
  test.each<[string, ConditionerSpec]>([
    ['of classes', { kind: 'class', embedDim: 6, nClasses: 3 }],
    ['of tokens', bert],
    ['of texts', { kind: 'clip', nEmbed: 8, nHead: 2, nLayer: 2, vocabSize: 9, maxSeqLen: 4 }],
    ['of maps', { kind: 'spatial-rescaler', inChannels: 5, outChannels: 2, bias: true }],
    ['of maps as they are', { kind: 'spatial-rescaler' }],
    ['of latents', { kind: 'first-stage' }],
    ['of maps and tokens', { kind: 'hybrid', concat: { kind: 'first-stage' }, crossattn: bert }],
    [
      'of masked pictures and tokens',
      { kind: 'hybrid', concat: { kind: 'masked-latents' }, crossattn: bert },
    ],
    ['of nothing', { kind: 'none' }],
  ])('%s', (_, spec) => {
    const stage = buildFirstStage(kl());
    const encoder = buildConditionEncoder(spec, stage);
    expect(Object.fromEntries(conditionerShapes(spec, kl()))).toEqual(shapesOf(encoder));
    stage.dispose();
  });

  test.each<[LatentDiffusionPreset, number]>([
    ['cin256', 512_000],
    ['cin256-v2', 512_512],
    ['text2img256', 186_154_682],
    ['txt2img-1p4B', 581_994_042],
    ['layout2img-openimages256', 58_858_496],
    ['semantic_synthesis256', 546],
    ['inpainting_big', 53_219_486],
  ])('of %s has the published number of parameters', (name, parameters) => {
    const { conditioner, firstStage } = latentDiffusionPresets[name];
    expect(valuesIn(conditionerShapes(conditioner!, firstStage))).toBe(parameters);
  });
});
