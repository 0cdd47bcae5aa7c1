// A second stage as people make one: a first stage is trained, a diffusion model on it, which is killed and gone
// on with, and pictures are sampled. Everything as processes, from YAML in the original's form.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { readImageSize } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { emulsion } from './emulsion.js';

const file = temporaryFolder();

const ddconfig = `ddconfig:
          {double_z: true, z_channels: 2, resolution: 32, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 1],
           num_res_blocks: 1, attn_resolutions: [], dropout: 0.0, norm_groups: 4}`;

const firstStage = `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.autoencoder.AutoencoderKL
  params:
    embed_dim: 2
    ${ddconfig}
    lossconfig:
      target: ldm.modules.losses.LPIPSWithDiscriminator
      params:
        {kl_weight: 1.0e-06, disc_start: 50, disc_ndf: 4, disc_num_layers: 2, perceptual_weight: 0}
`;
const diffusion = `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0195
    timesteps: 100
    log_every_t: 50
    first_stage_key: image
    image_size: 16
    channels: 2
    scale_by_std: true
    monitor: val/loss_simple_ema
    scheduler_config:
      target: ldm.lr_scheduler.LambdaLinearScheduler
      params:
        {warm_up_steps: [4], cycle_lengths: [1000], f_start: [1.e-1], f_max: [1.], f_min: [1.]}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        {image_size: 16, in_channels: 2, out_channels: 2, model_channels: 16, num_res_blocks: 1,
         attention_resolutions: [2], channel_mult: [1, 2], num_heads: 2, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 2
        ckpt_path: ${file('logs/first/model')}
        ${ddconfig}
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config: __is_unconditional__
`;
const set = `{target: emulsion.data.ImageFolder, params: {data_root: ${file('pictures')}, size: 32}}`;
const data = (steps: number) => `data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 4
    num_workers: 1
    train: ${set}
    validation: ${set}
lightning:
  trainer: {benchmark: True, max_steps: ${steps}}
  callbacks: {image_logger: {target: main.ImageLogger, params: {batch_frequency: 12, max_images: 2}}}
emulsion: {save_every: 4, validate_every: 12, log_every: 4}
`;

beforeAll(async () => {
  mkdirSync(file('pictures'));
  for (let i = 0; i < 12; ++i) {
    const pixels = Buffer.alloc(32 * 32 * 3);
    for (let p = 0; p < pixels.length; ++p)
      pixels[p] = (p % 3 === i % 3 ? 255 : 8 * ((p / 3) % 32)) ^ (i * (Math.floor(p / 96) >> 2));
    const raw = { width: 32, height: 32, channels: 3 } as const;
    await sharp(pixels, { raw })
      .png()
      .toFile(join(file('pictures'), `${i}.png`));
  }
  const configurations = { first: firstStage + data(3), second: diffusion + data(12) };
  for (const [name, text] of Object.entries(configurations))
    writeFileSync(file(`${name}.yaml`), text);
});

const train = (name: string, ...args: string[]) => [
  'train',
  '-b',
  file(`${name}.yaml`),
  '-t',
  '--logdir',
  file('logs'),
  ...args,
];
const bytes = (path: string) => readFileSync(file(path));

describe('a diffusion model', () => {
  test(
    'trains on a first stage, and after a kill to the same bytes',
    { timeout: 180_000 },
    async () => {
      const first = await emulsion(train('first'));
      expect([first.status, first.stderr]).toEqual([0, '']);

      const at = file('logs/torn/checkpoints/step-00000004.safetensors');
      const [whole, killed] = await Promise.all([
        emulsion(train('second', '--name', 'whole')),
        emulsion(train('second', '--name', 'torn'), { signal: 'SIGKILL', at }),
      ]);
      expect(whole.stderr).toBe('');
      expect(whole.status).toBe(0);
      expect(whole.stdout).toContain('12 steps, 48 images. The model is in ');
      expect(killed.signal).toBe('SIGKILL');
      expect(existsSync(file('logs/torn/model'))).toBe(false);

      const resumed = await emulsion(['train', '--resume', file('logs/torn')]);
      expect([resumed.status, resumed.stderr]).toEqual([0, '']);
      expect(resumed.stdout).toMatch(/going on after step [48]/);
      const state = 'checkpoints/step-00000012.safetensors';
      const model = ['model/model.safetensors', 'model/model_ema.safetensors', 'model/config.json'];
      for (const part of [...model, 'config.yaml', state])
        expect(bytes(`logs/torn/${part}`).equals(bytes(`logs/whole/${part}`)), part).toBe(true);
    },
  );

  test('leaves numbers and pictures', async () => {
    const lines = bytes('logs/whole/metrics.jsonl').toString().trim().split('\n');
    const measured = lines.map((line) => JSON.parse(line) as Record<string, number>);
    expect(measured.map(({ step }) => step)).toEqual([4, 8, 12, 12]);
    expect(measured[2]['lr/diffusion']).toBeCloseTo(4e-4, 8);
    expect(measured[3]['val/loss_simple_ema']).toBeGreaterThan(0);
    const pictures = readdirSync(file('logs/whole/images/val')).sort();
    const names = [
      'denoising_row',
      'diffusion_row',
      'inputs',
      'progressive_row',
      'reconstructions',
    ];
    expect(pictures).toEqual([...names, 'samples'].map((name) => `${name}-00000012.png`));
  });

  test('makes the same picture of a seed whatever is made beside it', async () => {
    const sample = (folder: string, ...args: string[]) =>
      emulsion([
        'sample',
        '--model',
        file('logs/whole'),
        '--steps',
        '6',
        '-o',
        file(folder),
        ...args,
      ]);
    const [four, two] = await Promise.all([
      sample('four', '-n', '4', '--eta', '1', '--grid', '--npz'),
      sample('two', '-n', '4', '--eta', '1', '--batch', '2'),
    ]);
    for (const { status, stderr } of [four, two]) expect([status, stderr]).toEqual([0, '']);
    expect(four.stdout).toMatch(
      /^4 pictures in [\d.]+ s \([\d.]+ per second\): .*000000\.png to .*000003\.png\n$/,
    );
    for (let i = 0; i < 4; ++i)
      expect(bytes(`two/00000${i}.png`).equals(bytes(`four/00000${i}.png`)), `${i}`).toBe(true);
    expect(await readImageSize(file('four/grid-000000.png'))).toEqual({ height: 36, width: 138 });
  });
});
