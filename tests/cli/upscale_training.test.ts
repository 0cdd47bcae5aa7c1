// Super-resolution as people make it: a configuration in the original's form is trained, and enlarges pictures.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import {
  buildFirstStage,
  buildLatentDiffusionRun,
  loadConfigTree,
  readLatentDiffusionTraining,
  saveFirstStage,
  type Tensor,
} from '../../lib/index.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinySpec } from '../ldm/tiny_diffusion.js';
import { root } from '../support/source_tree.js';
import { emulsion } from './emulsion.js';

const file = temporaryFolder();

const set = (name: string) =>
  `{target: ldm.data.imagenet.ImageNetSR${name}, params: {data_root: ${file('pictures')}, size: 16,
       degradation: bsrgan_light, downscale_f: 2, min_crop_f: 0.7}}`;

const config = () => `model:
  base_learning_rate: 1.0e-3
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0155
    timesteps: 50
    log_every_t: 25
    first_stage_key: image
    cond_stage_key: LR_image
    image_size: 8
    channels: 3
    cond_stage_trainable: false
    concat_mode: true
    monitor: val/loss
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {image_size: 8, in_channels: 6, out_channels: 3, model_channels: 8, num_res_blocks: 1,
        attention_resolutions: [2], channel_mult: [1, 2], num_head_channels: 8, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params: {embed_dim: 3, ckpt_path: ${file('first')}, lossconfig: {target: torch.nn.Identity}, ddconfig:
        {ch: 8, out_ch: 3, ch_mult: [1, 2], num_res_blocks: 1, in_channels: 3, resolution: 16, z_channels: 3,
         norm_groups: 4}}
    cond_stage_config: {target: torch.nn.Identity}
data:
  target: main.DataModuleFromConfig
  params: {batch_size: 2, num_workers: 1, train: ${set('Train')}, validation: ${set('Validation')}}
lightning:
  trainer: {max_steps: 4}
  callbacks: {image_logger: {target: main.ImageLogger, params: {batch_frequency: 4, max_images: 2}}}
emulsion: {save_every: 4, validate_every: 4, log_every: 2}
`;

beforeAll(async () => {
  for (let i = 0; i < 4; ++i)
    await writePicture(file(`pictures/${i}.png`), i, { width: 24, height: 20 });
  const stage = buildFirstStage(tinySpec().firstStage);
  await saveFirstStage(file('first'), stage);
  stage.dispose();
  writeFileSync(file('upscale.yaml'), config());
});

test('a configuration trains, and its model enlarges pictures', async () => {
  const args = ['--base', file('upscale.yaml'), '--logdir', file('logs'), '--name', 'x2'];
  const trained = await emulsion(['train', ...args]);
  expect([trained.status, trained.stderr]).toEqual([0, '']);
  const lines = readFileSync(file('logs/x2/metrics.jsonl'), 'utf8').trim().split('\n');
  const last = JSON.parse(lines.at(-1)!) as Record<string, number>;
  expect(last['val/loss_simple']).toBeGreaterThan(0);
  expect(readdirSync(file('logs/x2/images/val'))).toContain('samples-00000004.png');

  await writePicture(file('small/a.png'), 7, { width: 9, height: 6 });
  const large = ['--model', file('logs/x2'), '--steps', '3', '-o', file('large')];
  const made = await emulsion(['upscale', file('small'), ...large]);
  expect([made.status, made.stderr]).toEqual([0, '']);
  expect(made.stdout).toMatch(/1 picture in /);
  const { width, height } = await sharp(file('large/a.png')).metadata();
  expect([width, height]).toEqual([18, 12]);
});

test('the recipe for folders of pictures gives a model what it is conditioned on', async () => {
  const path = join(root, 'configs/folder64-upscale.yaml');
  const tree = await loadConfigTree(
    [path],
    [
      `data.params.train.params.data_root=${file('pictures')}`,
      'data.params.num_workers=0',
      'data.params.batch_size=2',
      'model.params.unet_config.params.model_channels=32',
      'model.params.first_stage_config.params.ckpt_path=null',
      'model.params.first_stage_config.target=ldm.models.autoencoder.IdentityFirstStage',
      'model.params.first_stage_config.params=null',
    ],
  );
  const { data, model } = await buildLatentDiffusionRun(readLatentDiffusionTraining(tree));
  for await (const { image, condition } of data.batches()) {
    const small = condition as Tensor;
    expect([image.shape, small.shape]).toEqual([
      [2, 64, 64, 3],
      [2, 16, 16, 3],
    ]);
    for (const each of [image, small, model]) each.dispose();
    break;
  }
  await data.dispose();
});
