// What a configuration's trainer and callbacks come to here: options of the Trainer, and a list of what they cannot.
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { diffusionModelTargets, noGrad, parseYaml, readTraining, tidy } from '../../lib/index.js';
import { buildLatentDiffusionRun } from '../../lib/train/latent_diffusion_run.js';
import { runOf } from '../../lib/train/run_config.js';
import { writePicture } from '../data/pictures.js';
import { temporaryFolder } from '../io/temporary.js';

const file = temporaryFolder();

/** Pixel diffusion on 8 pictures in batches of 2. */
const configOf = (lightning: string, emulsion = '{}', params = '') =>
  readTraining(
    parseYaml(
      `model:
  base_learning_rate: 1.0e-3
  target: ldm.models.diffusion.ddpm.DDPM
  params:
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {image_size: 8, in_channels: 3, out_channels: 3, model_channels: 8, num_res_blocks: 1,
        attention_resolutions: [], channel_mult: [1], num_heads: 2, norm_groups: 4}
    ${params}
data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 2
    num_workers: 0
    train: {target: emulsion.data.ImageFolder, params: {data_root: ${file('pictures')}, size: 8}}
lightning: ${lightning}
emulsion: ${emulsion}
`,
      'run.yaml',
    ),
    diffusionModelTargets,
  );

/** Options of the trainer for a model that itself asks for `val/loss`. */
async function optionsOf(section: string, trainer = '', emulsion?: string) {
  const lightning = `{trainer: {max_steps: 4${trainer}}, ${section}}`;
  const { data, options } = await runOf(configOf(lightning, emulsion), { monitor: 'val/loss' });
  await data.dispose();
  return options;
}

beforeAll(async () => {
  for (let i = 0; i < 8; ++i) await writePicture(file(`pictures/${i}.png`), i);
});

describe('the precision of training', () => {
  test.each([
    ['16', 'float16'],
    ['16-mixed', 'float16'],
    ['bf16', 'bfloat16'],
    ['"bf16-mixed"', 'bfloat16'],
    ['32', 'float32'],
  ])('%s is %s', (precision, dtype) => {
    expect(configOf(`{trainer: {precision: ${precision}}}`).run.dtype).toBe(dtype);
    const ours = configOf(`{trainer: {precision: ${precision}}}`, '{dtype: float32}');
    expect(ours.run.dtype).toBe('float32');
  });

  test('is one of these', () => {
    expect(() => configOf('{trainer: {precision: 64}}')).toThrow(
      /^run\.yaml:\d+:\d+: precision must be one of .*bf16-mixed, got 64\.$/,
    );
  });
});

describe('saved states', () => {
  const states = (params: string) => `modelcheckpoint: {target: x, params: ${params}}`;

  test.each([
    ['{}', { saveEvery: undefined, monitor: 'val/loss', keepBest: undefined }],
    ['{every_n_train_steps: 50, save_top_k: 5}', { saveEvery: 50, keepBest: 5 }],
    ['{every_n_train_steps: 50, save_top_k: -1}', { keepEvery: 50, monitor: 'val/loss' }],
    ['{save_top_k: -1}', { keepEvery: 1000 }],
    ['{save_top_k: 0}', { monitor: undefined, keepEvery: undefined }],
    ['{every_n_epochs: 3}', { saveEvery: 12 }],
    ['{monitor: val/loss_simple, mode: min}', { monitor: 'val/loss_simple' }],
    ['{monitor: null}', { monitor: undefined }],
  ])('%s', async (params, expected) => {
    expect(await optionsOf(states(params))).toMatchObject(expected);
  });

  test('are saved as our own setting says first', async () => {
    const own = await optionsOf(states('{every_n_train_steps: 50}'), '', '{save_every: 7}');
    expect(own).toMatchObject({ saveEvery: 7 });
  });

  test('are the best where a number is lowest', () => {
    expect(() => configOf(`{${states('{mode: max}')}}`)).toThrow(
      /mode is not supported: the best states/,
    );
  });

  test('of a diffusion model are the best by val/loss, unless it says otherwise', async () => {
    const monitorOf = async (params: string) => {
      const run = await buildLatentDiffusionRun(
        configOf('{trainer: {max_steps: 1}}', '{}', params),
      );
      await run.data.dispose();
      return run.options.monitor;
    };
    expect(await monitorOf('')).toBe('val/loss');
    expect(await monitorOf('monitor: val/loss_simple_ema')).toBe('val/loss_simple_ema');
    expect(await monitorOf('monitor: null')).toBe(undefined);
  });
});

test('numbers and validations come as often as the original was told', async () => {
  const given = ', log_every_n_steps: 20, check_val_every_n_epoch: 2, accumulate_grad_batches: 3';
  // two epochs of four batches, three of which make a step
  expect(await optionsOf('', given)).toMatchObject({ logEvery: 20, validateEvery: 3 });
  const own = await optionsOf('', given, '{log_every: 5, validate_every: 7}');
  expect(own).toMatchObject({ logEvery: 5, validateEvery: 7 });
});

test('samples that show the training are made as it was told', async () => {
  const kwargs =
    'params: {max_images: 1, log_images_kwargs: {ddim_steps: 3, ddim_eta: 0.5, inpaint: false}}';
  const config = configOf(
    `{trainer: {max_steps: 1}, callbacks: {image_logger: {${kwargs}}}}`,
    '{}',
    'timesteps: 10',
  );
  const { model, task, data } = await buildLatentDiffusionRun(config);
  const sample = vi.spyOn(model, 'sample');
  const context = { step: 1, micro: 0, accumulate: 1, seed: 1 };
  for await (const batch of data.epoch()) {
    await noGrad(() => tidy(() => task.pictures!(batch, context)));
    break;
  }
  expect(sample).toHaveBeenCalledWith(expect.objectContaining({ steps: 3, eta: 0.5, count: 1 }));
  // neither around the middle, nor in it
  expect(sample).toHaveBeenCalledTimes(1);
  await data.dispose();
});

describe('settings without a counterpart', () => {
  test('are named, unless they ask for what happens anyway', () => {
    const { ignored, imageLogger } = configOf(`
  find_unused_parameters: false
  logger: {target: pytorch_lightning.loggers.WandbLogger}
  modelcheckpoint: {params: {save_top_k: 1, save_last: true, filename: "{epoch}", verbose: true}}
  trainer: {max_steps: 4, benchmark: true, val_check_interval: 0.5, gradient_clip_algorithm: norm}
  callbacks:
    image_logger:
      params:
        {increase_log_steps: true, log_first_step: false, clamp: true,
         log_images_kwargs: {ddim_steps: 20, ddim_eta: 0, plot_diffusion_rows: false, sample: true}}`);
    expect(ignored).toEqual([
      'lightning.logger',
      'lightning.trainer.val_check_interval',
      'lightning.modelcheckpoint.params.filename',
      'lightning.callbacks.image_logger.params.increase_log_steps',
      'lightning.callbacks.image_logger.params.log_images_kwargs.plot_diffusion_rows',
    ]);
    expect(imageLogger).toEqual({ logImagesKwargs: { ddimSteps: 20, ddimEta: 0 } });
  });

  test('are still known by name', () => {
    expect(() => configOf('{trainer: {val_check_intervall: 5}}')).toThrow(
      "Did you mean 'val_check_interval'?",
    );
  });
});
