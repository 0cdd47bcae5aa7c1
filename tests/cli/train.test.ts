// `emulsion train first-stage` as people call it: a tiny KL and a tiny VQ model on a folder of pictures, to
// the end, killed and gone on with, and called wrongly.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadFirstStage, noGrad, readImage, stack, tidy } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { emulsion } from './emulsion.js';

const file = temporaryFolder();
const run = (args: string[], interruption?: Parameters<typeof emulsion>[1]) =>
  emulsion(['train', 'first-stage', ...args], interruption);

const ddconfig = (doubleZ: boolean) => `ddconfig:
      {double_z: ${doubleZ}, z_channels: 2, resolution: 32, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 1],
       num_res_blocks: 1, attn_resolutions: [], dropout: 0.0, norm_groups: 4}`;
const common = 'disc_start: 5, disc_ndf: 4, disc_num_layers: 2, perceptual_weight: 0';

const kl = `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.autoencoder.AutoencoderKL
  params:
    embed_dim: 2
    ${ddconfig(true)}
    lossconfig:
      target: ldm.modules.losses.LPIPSWithDiscriminator
      params: {kl_weight: 1.0e-06, ${common}}
`;
const vq = `model:
  base_learning_rate: 1e-4
  target: ldm.models.autoencoder.VQModel
  params:
    embed_dim: 2
    n_embed: 32
    use_ema: True
    ${ddconfig(false)}
    lossconfig:
      target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator
      params: {codebook_weight: 1.0, ${common}}
`;
const set = (params: string) =>
  `{target: emulsion.data.ImageFolder, params: {data_root: ${file('pictures')}, size: 32${params}}}`;
const data = `data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 4
    num_workers: 1
    train: ${set(', flip: 0.5')}
    validation: ${set('')}
lightning:
  trainer: {benchmark: True, max_steps: 20}
  callbacks: {image_logger: {target: main.ImageLogger, params: {batch_frequency: 20, max_images: 4}}}
emulsion: {save_every: 4, validate_every: 20, log_every: 5}
`;

beforeAll(async () => {
  mkdirSync(file('pictures'));
  for (let i = 0; i < 24; ++i) {
    const pixels = Buffer.alloc(32 * 32 * 3);
    for (let p = 0; p < pixels.length; ++p)
      pixels[p] = (p % 3 === i % 3 ? 255 : 8 * ((p / 3) % 32)) ^ (i * (Math.floor(p / 96) >> 2));
    const raw = { width: 32, height: 32, channels: 3 } as const;
    await sharp(pixels, { raw })
      .png()
      .toFile(join(file('pictures'), `${i}.png`));
  }
  writeFileSync(file('kl.yaml'), kl);
  writeFileSync(file('vq.yaml'), vq);
  writeFileSync(file('data.yaml'), data);
});

const given = (name: 'kl' | 'vq') => ['-c', file(`${name}.yaml`), '-c', file('data.yaml')];
const inLogs = (...args: string[]) => ['--logdir', file('logs'), ...args];
const bytes = (name: string, path: string) => readFileSync(file(`logs/${name}/${path}`));

describe.each(['kl', 'vq'] as const)('%s', (name) => {
  test('trains to the end, and after a kill to the same bytes', async () => {
    const torn = `${name}-torn`;
    const at = file(`logs/${torn}/checkpoints/step-00000008.safetensors`);
    const [whole, killed] = await Promise.all([
      run([...given(name), ...inLogs('--name', `${name}-whole`)]),
      run([...given(name), ...inLogs('--name', torn)], { signal: 'SIGKILL', at }),
    ]);
    expect(whole.stderr).toBe('');
    expect(whole.status).toBe(0);
    expect(whole.stdout).toContain('20 steps, 80 images. The model is in ');
    expect(killed.signal).toBe('SIGKILL');
    expect(existsSync(file(`logs/${torn}/model`))).toBe(false);

    const resumed = await run(['--resume', file(`logs/${torn}`)]);
    expect(resumed.stderr).toBe('');
    expect(resumed.stdout).toMatch(/going on after step (8|12|16)/);
    const same = ['model/model.safetensors', 'model/config.json', 'config.yaml'];
    for (const part of [...same, 'checkpoints/step-00000020.safetensors'])
      expect(bytes(torn, part).equals(bytes(`${name}-whole`, part)), part).toBe(true);
  });

  test('leaves numbers, pictures and a model that reconstructs', async () => {
    const folder = `${name}-whole`;
    const lines = bytes(folder, 'metrics.jsonl').toString().trim().split('\n');
    const measured = lines.map((line) => JSON.parse(line) as Record<string, number>);
    expect(measured.map(({ step }) => step)).toEqual([5, 10, 15, 20, 20]);
    const [, first] = measured;
    const factors = measured.map((each) => each['train/disc_factor']);
    expect(factors).toEqual([0, 1, 1, 1, undefined]);
    expect(first['lr/autoencoder']).toBeCloseTo(4e-4, 10);
    const validated = measured[4];
    expect(validated['val/psnr']).toBeGreaterThan(3);
    expect('val/psnr_ema' in validated).toBe(name === 'vq');
    const pictures = readdirSync(file(`logs/${folder}/images/val`)).sort();
    const shown = ['reconstructions-00000020.png', 'samples-00000020.png'];
    expect(pictures).toEqual(name === 'kl' ? shown : shown.slice(0, 1));

    using model = await loadFirstStage(file(`logs/${folder}/model`));
    const difference = await noGrad(() =>
      tidy(async () => {
        const paths = readdirSync(file('pictures')).map((path) => join(file('pictures'), path));
        const images = stack(await Promise.all(paths.map((path) => readImage(path)))); // [24, 32, 32, 3]
        const back = model.decodeLatents(model.encodeToLatents(images));
        return back.sub(images).abs().mean().item();
      }),
    );
    // The validation of a KL model samples latents, here they are the mode.
    expect(difference).toBeCloseTo(validated['val/rec_loss'], name === 'vq' ? 4 : 1);
    expect(existsSync(file(`logs/${folder}/model/model_ema.safetensors`))).toBe(name === 'vq');
  });
});

describe('a run', () => {
  test('is not overwritten, nor its configuration by one that does not fit', async () => {
    const before = bytes('kl-whole', 'config.yaml');
    const again = await run([...given('kl'), ...inLogs('--name', 'kl-whole')]);
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(/kl-whole: the folder is in use.*--resume/);
    const more = ['--name', 'kl-whole', '--steps', '24', 'model.params.embed_dim=3'];
    const other = await run([...inLogs('--resume', 'latest'), ...more]);
    expect(other.status).toBe(1);
    expect(other.stderr).toContain('config.model.embedDim: 2 in the state, 3 here');
    expect(bytes('kl-whole', 'config.yaml').equals(before)).toBe(true);
  });

  test('is saved by Ctrl-C, which says how to go on', async () => {
    const folder = file("logs/Ann's run");
    const at = join(folder, 'checkpoints/step-00000004.safetensors');
    const how = ['--steps', '100000', '--device', 'cpu', '--tensorboard'];
    const args = [...given('kl'), ...inLogs('--name', "Ann's run", ...how)];
    const { status, stdout } = await run(args, { signal: 'SIGINT', at });
    expect(status).toBe(130);
    const step = /saved after step (\d+)/.exec(stdout)![1];
    const quoted = `'${folder.replace("'", `'\\''`)}'`;
    expect(stdout).toContain(`emulsion train first-stage --resume ${quoted}\n`);
    const states = readdirSync(join(folder, 'checkpoints'));
    expect(states).toContain(`step-${step.padStart(8, '0')}.safetensors`);

    // goes on where and how it was begun, unless told otherwise
    rmSync(join(folder, 'tensorboard'), { recursive: true });
    const on = ['--resume', folder, '--steps', String(Number(step) + 1)];
    const config = join(folder, 'config.yaml');
    expect(readFileSync(config, 'utf8')).toMatch(/device: cpu\n +tensorboard: true/);
    const elsewhere = await run([...on, 'emulsion.device=cuda:99']);
    expect(elsewhere.stderr).toContain("no device 'cuda:99'");
    expect((await run(on)).status).toBe(0);
    expect(readdirSync(join(folder, 'tensorboard'))).toHaveLength(1);
  });
});

test('--dry-run prints the configuration and makes nothing', async () => {
  const asked = [
    '--name',
    'dry',
    '--dry-run',
    '-b',
    '3',
    '-s',
    '7',
    '--no-scale-lr',
    '--no-capture',
  ];
  const { status, stdout } = await run([...given('vq'), ...inLogs(...asked)]);
  expect(status).toBe(0);
  const settings = ['batch_size: 3', 'seed: 7', 'scale_lr: false', 'capture: false'];
  for (const line of [...settings, '# learning rate: 0.0001']) expect(stdout).toContain(line);
  expect(stdout).toMatch(/# ldm\.models\.autoencoder\.VQModel: [\d,]+ parameters/);
  expect(stdout).toMatch(/# discriminator: [\d,]+ parameters/);
  expect(existsSync(file('logs/dry'))).toBe(false);
});

test('--json prints one value, of a dry run and of a whole one', async () => {
  const json = async (...args: string[]) => {
    const { status, stdout, stderr } = await run([...given('kl'), ...inLogs('--json', ...args)]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const planned = await json('--dry-run', '-s', '7');
  expect(planned).toMatchObject({ configuration: { emulsion: { seed: 7 } } });
  const parts = planned.parameters as Record<string, number>;
  expect(Object.keys(parts)).toContain('discriminator');
  const done = await json('--name', 'json', '--steps', '2');
  expect(done).toMatchObject({ step: 2, images: 8, learningRate: planned.learningRate });
  expect(done.model).toBe(file('logs/json/model'));
  expect(Object.values(parts)).toContain(done.parameters);
});

test.concurrent.each<[string[], number, RegExp]>([
  [[], 2, /give a configuration with --config/],
  [['--steps', '0'], 2, /Expected a whole number, at least 1/],
  [['--config', 'nowhere.yaml'], 1, /nowhere\.yaml: cannot be read/],
  [['--resume', 'latest', '--logdir', 'nowhere'], 1, /nowhere: holds no run to go on with/],
])('%j is refused', async (args, code, message) => {
  const { status, stderr } = await run(args);
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain('    at ');
  expect(status).toBe(code);
});
