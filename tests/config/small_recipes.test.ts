// The small recipes for one's own pictures: what lies on top of folder64-ldm.yaml makes a model of another task.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfigTree } from '../../lib/config/merge.js';
import { diffusionModelTargets } from '../../lib/config/diffusion_models.js';
import { readTraining } from '../../lib/config/training.js';
import { buildLatentDiffusion, classInputOf, inpaintingMode } from '../../lib/index.js';
import { root } from '../support/source_tree.js';

const recipe = (name: string) => join(root, 'configs', `folder64-${name}.yaml`);

const read = async (name: string) => {
  const overrides = [
    'data.params.train.params.data_root=photos',
    'model.params.first_stage_config.params.ckpt_path=null',
  ];
  const tree = await loadConfigTree([recipe('ldm'), recipe(name)], overrides);
  return readTraining(tree, diffusionModelTargets);
};

test.each([
  ['class', { kind: 'class', nClasses: 11, unconditionalClass: 10 }],
  ['text', { kind: 'bert', vocabSize: 30522 }],
  ['layout', { kind: 'bert', vocabSize: 8192, maxSeqLen: 92, unconditionalToken: 8191 }],
])('folder64-%s.yaml', async (name, conditioner) => {
  const { model, data } = await read(name);
  const { spec, training } = model.spec;
  expect(spec).toMatchObject({
    conditioner,
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    unet: { useSpatialTransformer: true, contextDim: 128, modelChannels: 64 },
    firstStage: { kind: 'kl' },
  });
  expect(training).toMatchObject({ unconditionalProbability: 0.1 });
  expect(data?.spec.batchSize).toBe(16);
  buildLatentDiffusion(spec).dispose();
});

test('folder64-inpainting.yaml', async () => {
  const { model, data } = await read('inpainting');
  const { spec } = model.spec;
  expect(spec).toMatchObject({
    conditioner: { kind: 'first-stage' },
    conditioningKey: 'concat',
    unet: { inChannels: 7, outChannels: 3 },
  });
  expect(inpaintingMode(spec)).toBe('conditioned');
  expect(data?.spec.train?.target).toBe('emulsion.data.InpaintingFolder');
  buildLatentDiffusion(spec).dispose();
});

test('folder64-inpainting-text.yaml', async () => {
  const { model, data } = await read('inpainting-text');
  const { spec, training } = model.spec;
  expect(spec).toMatchObject({
    conditioner: { concat: { kind: 'first-stage' }, crossattn: { kind: 'bert', vocabSize: 30522 } },
    conditioningKey: 'hybrid',
    conditionerTrainable: true,
    unet: { inChannels: 7, outChannels: 3, contextDim: 128 },
  });
  expect(training).toMatchObject({ unconditionalProbability: 0.1 });
  expect(inpaintingMode(spec)).toBe('conditioned');
  expect(data?.spec.train?.target).toBe('emulsion.data.InpaintingCaptionedFolder');
  buildLatentDiffusion(spec).dispose();
});

test('folder64-class-adm.yaml', async () => {
  const { spec, training } = (await read('class-adm')).model.spec;
  expect(spec).toMatchObject({
    conditioner: { kind: 'identity' },
    conditioningKey: 'adm',
    unconditionalClass: 10,
    unet: { numClasses: 11 },
  });
  expect(classInputOf(spec)).toEqual({ nClasses: 11, unconditionalClass: 10 });
  expect(training).toMatchObject({ unconditionalProbability: 0.1 });
  buildLatentDiffusion(spec).dispose();
});
