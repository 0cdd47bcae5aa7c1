// What a training makes of the classes of its pictures: one meaning in both sets, and none that the model lacks.
import { writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  buildLatentDiffusionRun,
  dataModuleTargets,
  parseYaml,
  readLatentDiffusionTraining,
} from '../../lib/index.js';
import { checkClasses } from '../../lib/train/class_names.js';
import { loaders, memory, writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';

const file = temporaryFolder();
const loaderOf = loaders();

beforeAll(async () => {
  for (const name of ['ant', 'bee', 'cat']) await writePicture(file(`train/${name}/0.png`));
  for (const name of ['bee', 'cat']) await writePicture(file(`val/${name}/0.png`));
  await writePicture(file('other/dog/0.png'));
});

const folder = (name: string, params = ', labels: folders') =>
  `{target: emulsion.data.ImageFolder, params: {data_root: ${file(name)}, size: 8${params}}}`;
const list = (name: string, labels: readonly number[]) => {
  writeFileSync(file(name), labels.map((label) => `bee/0.png\t${label}\n`).join(''));
  return `{target: emulsion.data.ImageList, params: {data_root: ${file('val')}, list: ${file(name)}, size: 8}}`;
};
const data = (train: string, validation: string) =>
  `{target: main.DataModuleFromConfig, params: {batch_size: 1, num_workers: 0, train: ${train}, validation: ${validation}}}`;

describe('ids of validation pictures', () => {
  const build = (train: string, validation: string) =>
    dataModuleTargets.read(parseYaml(data(train, validation), 'a.yaml'), 'data').build({ seed: 1 });

  test('are those of the training pictures', async () => {
    const { train, validation } = await build(folder('train'), folder('val'));
    const labels = ({ dataset }: NonNullable<typeof train>) =>
      Array.from({ length: dataset.length }, (_, i) => dataset.item(i).label);
    expect([labels(train!), labels(validation!)]).toEqual([
      [0, 1, 2],
      [1, 2],
    ]);
    const unlabelled = await build(folder('train'), folder('val', ''));
    expect(labels(unlabelled.validation!)).toEqual([undefined, undefined]);
  });

  test('are refused where training pictures have no such class', async () => {
    await expect(build(folder('train'), folder('other'))).rejects.toThrow(
      /dog\/0\.png: its folder is none of the 3 classes given.*add a folder dog/,
    );
  });
});

describe('a model', () => {
  const build = (train: string, validation: string) =>
    buildLatentDiffusionRun(
      readLatentDiffusionTraining(
        parseYaml(
          `model:
  base_learning_rate: 1.0e-3
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    conditioning_key: adm
    unconditional_class: 3
    cond_stage_config: {target: torch.nn.Identity}
    first_stage_config: {target: ldm.models.autoencoder.IdentityFirstStage}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {image_size: 8, in_channels: 3, out_channels: 3, model_channels: 8, num_res_blocks: 1,
        attention_resolutions: [], channel_mult: [1], num_heads: 2, norm_groups: 4, num_classes: 4}
data: ${data(train, validation)}
lightning: {trainer: {max_steps: 1}}
`,
          'run.yaml',
        ),
      ),
    );

  test('is trained on classes that it knows', async () => {
    const { data, options } = await build(list('known.txt', [0, 2]), list('more.txt', [1]));
    await data.dispose();
    await options.validation?.dispose?.();
  });

  test.each([
    ['training', [0, 3, 1], [0]],
    ['validation', [0], [1, 7]],
  ])('is not trained with %s pictures of others', async (_, train, validation) => {
    const built = build(list('train.txt', train), list('validation.txt', validation));
    await expect(built).rejects.toThrow(
      `is labelled ${Math.max(...train, ...validation)}, and the model knows the classes 0 to 2 (n_classes`,
    );
  });

  test('needs the classes of validation pictures as well', async () => {
    await expect(build(folder('train'), folder('val', ''))).rejects.toThrow(
      /conditioned on classes, and the pictures have none/,
    );
  });
});

test('a classifier knows no other class than those that it tells', () => {
  const say = { needs: 'it needs classes', settings: 'num_classes' };
  expect(() => checkClasses(2, [loaderOf(memory(4, [0, 1, 1, 0])), undefined], say)).not.toThrow();
  expect(() => checkClasses(2, [loaderOf(memory(4, [0, 1, 2, 0]))], say)).toThrow(
    /picture 2 is labelled 2, and the model knows the classes 0 to 1 \(num_classes\)/,
  );
});
