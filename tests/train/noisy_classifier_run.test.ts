// The training of a classifier of noisy latents from the original's YAML, as `emulsion train` makes it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildLatentDiffusion,
  loadEncoderUNet,
  noise,
  openRunFolder,
  parseYaml,
  saveLatentDiffusion,
  tidy,
  writeImage,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec } from '../ldm/tiny_diffusion.js';

const file = temporaryFolder();

const yaml = (params: string) => `model:
  base_learning_rate: 1.0e-03
  target: ldm.models.diffusion.classifier.NoisyLatentImageClassifier
  params:
    diffusion_path: ${file('ldm')}
    num_classes: 2
    label_key: class_label
    weight_decay: 1.e-2
    log_steps: 10
    monitor: val/loss
${params}
data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 4
    num_workers: 0
    train:
      target: emulsion.data.ImageFolder
      params: {data_root: ${file('pictures')}, size: 16, labels: folders}
lightning: {trainer: {max_steps: 3}}
`;
const training = (params: string) => trainingOf(parseYaml(yaml(params), 'classifier.yaml'));

beforeAll(async () => {
  for (const [label, name] of ['cat', 'dog'].entries()) {
    const folder = join(file('pictures'), name);
    mkdirSync(folder, { recursive: true });
    for (let i = 0; i < 4; ++i)
      await tidy(() =>
        writeImage(join(folder, `${i}.png`), noise([16, 16, 3], { seed: i }).mul(0.2).add(label)),
      );
  }
  const model = buildLatentDiffusion(plainSpec());
  await saveLatentDiffusion(join(file('ldm'), 'model'), model); // a run's folder holds its model
  model.dispose();
});

test('trains what the configuration names, and saves the classifier', async () => {
  const built = await training('    pool: spatial').build();
  const folder = await openRunFolder(file('run'));
  const result = await built.run({ folder, loggers: [] }, new AbortController().signal);
  expect(result).toMatchObject({ step: 3, images: 12, finished: true });
  await built.save(file('classifier'));
  await built.dispose();
  const classifier = await loadEncoderUNet(file('classifier'));
  expect(classifier.config).toMatchObject({ pool: 'spatial', outChannels: 2, inChannels: 3 });
  expect(classifier.parameterCount()).toBe(built.parameters);
  classifier.dispose();
  // goes on from what was saved, which must tell as many classes
  const again = await training(`    ckpt_path: ${file('classifier')}`).build();
  expect(again.parameters).toBe(built.parameters);
  await again.dispose();
});

test.each([
  ['    pool: max', /pool must be one of adaptive, attention, spatial, spatial_v2/],
  ['    label_key: segmentation', /label_key must be one of class_label/],
  ['    diffusion_ckpt_path: a.ckpt', /diffusion_path names a folder/],
])('%s is refused with its place', (params, message) => {
  const without = params.includes('label_key')
    ? yaml('').replace(/ {4}label_key.*\n/, '')
    : yaml('');
  const text = without.replace('    monitor: val/loss\n', `    monitor: val/loss\n${params}\n`);
  expect(() => trainingOf(parseYaml(text, 'classifier.yaml'))).toThrow(message);
});

test('the pool of the original needs heads of a known width', async () => {
  await expect(training('').build()).rejects.toThrow(/pool 'attention' needs numHeadChannels/);
});
