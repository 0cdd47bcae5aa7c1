// From a configuration of the original's form to a trained second stage that loads again.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  buildFirstStage,
  buildLatentDiffusionRun,
  loadFirstStage,
  loadLatentDiffusion,
  openRunFolder,
  parseYaml,
  readLatentDiffusionTraining,
  saveFirstStage,
  saveTrainedLatentDiffusion,
  Trainer,
  type DataLoader,
  type ImageBatch,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinySpec } from '../ldm/tiny_diffusion.js';

const file = temporaryFolder();

async function firstOf(data: DataLoader): Promise<ImageBatch> {
  for await (const batch of data.batches({ from: 0 })) return batch;
  throw new Error('no batch');
}
const { firstStage } = tinySpec();

const ddconfig =
  '{ch: 8, out_ch: 3, ch_mult: [1, 2], num_res_blocks: 1, in_channels: 3, resolution: 16, z_channels: 3, ' +
  'norm_groups: 4}';
const set = `{target: emulsion.data.ImageFolder, params: {data_root: ${file('pictures')}, size: 16, labels: folders}}`;

const config = (lines: string[] = [], ckptPath = `ckpt_path: ${file('first_stage')}`) =>
  readLatentDiffusionTraining(
    parseYaml(
      `model:
  base_learning_rate: 1.0e-3
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0195
    cond_stage_key: class_label
    cond_stage_trainable: true
    conditioning_key: crossattn
    scale_by_std: true
    unconditional_probability: 0.5
    ${lines.join('\n    ')}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {image_size: 8, in_channels: 3, out_channels: 3, model_channels: 8, num_res_blocks: 1,
        attention_resolutions: [1], channel_mult: [1, 2], num_heads: 2, use_spatial_transformer: true,
        context_dim: 6, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params: {embed_dim: 3, ${ckptPath && `${ckptPath}, `}lossconfig: {target: torch.nn.Identity}, ddconfig: ${ddconfig}}
    cond_stage_config:
      target: ldm.modules.encoders.modules.ClassEmbedder
      params: {embed_dim: 6, n_classes: 3, unconditional_class: 2}
data:
  target: main.DataModuleFromConfig
  params: {batch_size: 2, num_workers: 0, train: ${set}}
lightning: {trainer: {max_steps: 2}, callbacks: {image_logger: {params: {disabled: true}}}}
`,
      'run.yaml',
    ),
  );

beforeAll(async () => {
  for (const name of ['cat', 'dog']) {
    mkdirSync(join(file('pictures'), name), { recursive: true });
    for (let i = 0; i < 2; ++i)
      await sharp({
        create: { width: 16, height: 16, channels: 3, background: `rgb(${60 * i},9,9)` },
      })
        .png()
        .toFile(join(file('pictures'), name, `${i}.png`));
  }
  const stage = buildFirstStage(firstStage);
  await saveFirstStage(file('first_stage'), stage);
  stage.dispose();
});

describe('a run', () => {
  it('trains on the first stage that is named, and its model loads again', async () => {
    const built = await buildLatentDiffusionRun(config());
    const { model, task, data, options } = built;
    expect(task.phases[0].optimizer.groups[0].lr).toBeCloseTo(2e-3, 10);
    expect(options).toMatchObject({ steps: 2, seed: 23, picturesEvery: 0 });
    const folder = await openRunFolder(file('run'));
    const { finished } = await new Trainer(task, data, { folder, ...options }).run();
    expect(finished).toBe(true);
    await saveTrainedLatentDiffusion(file('model'), built);
    const loaded = await loadLatentDiffusion(file('model'), undefined, { weights: 'raw' });
    const [was, is] = [model, loaded].map((each) => each.model.parameters()[0].data());
    expect(await is).toEqual(await was);
    expect(loaded.spec).toEqual(model.spec);
    await data.dispose();

    // a further run begins with these weights, but for what is left out
    const next = await buildLatentDiffusionRun(
      config([`ckpt_path: ${file('model')}`, 'ignore_keys: [cond_stage_model]']),
    );
    const table = (each: typeof model) => each.cond_stage_model!.parameters()[0].data();
    expect(await next.model.model.parameters()[0].data()).toEqual(await was);
    expect(await table(next.model)).not.toEqual(await table(model));
    // the scale and the average that came with them
    const scale = async (each: typeof model) => each.scale_factor!.item();
    expect(await scale(next.model)).toBe(await scale(model));
    await next.task.beforeFirstStep?.(await firstOf(next.data), {
      step: 0,
      micro: 0,
      accumulate: 1,
      seed: 0,
    });
    expect(await scale(next.model)).toBe(await scale(model));
    const average = (each: typeof built) => {
      const { ema } = each.task.ema!;
      return ema.averageOf(each.model.model.parameters()[0])!.data();
    };
    expect(await average(next)).toEqual(await average(built));
    expect(await average(next)).not.toEqual(await was);
    expect(next.task.ema!.ema.nextDecay).toBeCloseTo(0.9999, 6);
    await next.data.dispose();
  });

  it('takes the first stage that is named where the weights to begin with have none', async () => {
    const without = [`ckpt_path: ${file('model')}`, 'ignore_keys: [first_stage_model]'];
    const { model, data } = await buildLatentDiffusionRun(config(without));
    const named = await loadFirstStage(file('first_stage'));
    const [is, was] = [model.first_stage_model, named].map((each) => each.parameters()[0].data());
    expect(await is).toEqual(await was);
    await data.dispose();
    await expect(buildLatentDiffusionRun(config(without, ''))).rejects.toThrow(
      /first_stage_config.params.ckpt_path; .* holds none, or they are left out/,
    );
  });

  it('needs the weights of its first stage', async () => {
    await expect(buildLatentDiffusionRun(config([], ''))).rejects.toThrow(
      'first_stage_config.params.ckpt_path',
    );
  });

  it('is trained with the options of another loss only as another run', async () => {
    const built = await buildLatentDiffusionRun(config(['offset_noise: 0.1']));
    expect(built.task.config).toMatchObject({
      loss: { unconditionalProbability: 0.5, offsetNoise: 0.1 },
    });
    await built.data.dispose();
  });
});
