// The small recipes for one's own pictures: what lies on top of folder64-ldm.yaml makes a model of another task.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfigTree } from '../../lib/config/merge.js';
import { diffusionModelTargets } from '../../lib/config/diffusion_models.js';
import { readTraining } from '../../lib/config/training.js';
import { buildLatentDiffusion } from '../../lib/index.js';
import { root } from '../support/source_tree.js';

const recipe = (name: string) => join(root, 'configs', `folder64-${name}.yaml`);

test.each([
  ['class', { kind: 'class', nClasses: 11, unconditionalClass: 10 }],
  ['text', { kind: 'bert', vocabSize: 30522 }],
  ['layout', { kind: 'bert', vocabSize: 8192, maxSeqLen: 92, unconditionalToken: 8191 }],
])('folder64-%s.yaml', async (name, conditioner) => {
  const tree = await loadConfigTree(
    [recipe('ldm'), recipe(name)],
    [
      'data.params.train.params.data_root=photos',
      'model.params.first_stage_config.params.ckpt_path=null',
    ],
  );
  const { model, data } = readTraining(tree, diffusionModelTargets);
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
