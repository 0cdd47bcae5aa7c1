// A second stage as people make one: a first stage is trained, a diffusion model on it, which is killed and gone
// on with, and pictures are sampled. Everything as processes, from YAML in the original's form.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { inspect } from '../../lib/cli/inspect_path.js';
import { classPictures } from '../../lib/cli/class2img_pictures.js';
import type { TrainOptions } from '../../lib/cli/train.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildLatentDiffusionRun,
  loadConfigTree,
  loadLatentDiffusion,
  readImageSize,
  readLatentDiffusionTraining,
  writeSafetensors,
  zeros,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { emulsion } from './emulsion.js';
import { tinyConfigs } from './tiny_configs.js';

const file = temporaryFolder();

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
  for (const [name, text] of Object.entries(tinyConfigs(file)))
    writeFileSync(file(`${name}.yaml`), text);
});

/** `emulsion train` in this process. */
const run = (overrides: string[], options: TrainOptions) =>
  train({ command: 'train', base: '--base', trainingOf }, overrides, options);

const call = (name: string, ...args: string[]) => [
  'train',
  '-b',
  file(`${name}.yaml`),
  '-t',
  '--logdir',
  file('logs'),
  ...args,
];
/** What `emulsion inspect` prints. */
async function told(path: string, options: { keys?: boolean; json?: boolean } = {}) {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    await inspect(file(path), { depth: 3, ...options });
    return log.mock.calls.map(([text]) => String(text)).join('\n');
  } finally {
    log.mockRestore();
  }
}

const bytes = (path: string) => readFileSync(file(path));

describe('a diffusion model', () => {
  test('trains on a first stage, and after a kill to the same bytes', async () => {
    const first = await emulsion(call('first'));
    expect([first.status, first.stderr]).toEqual([0, '']);

    const at = file('logs/torn/checkpoints/step-00000004.safetensors');
    const [whole, killed] = await Promise.all([
      emulsion(call('second', '--name', 'whole')),
      emulsion(call('second', '--name', 'torn'), { signal: 'SIGKILL', at }),
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
  });

  test('leaves numbers and pictures', async () => {
    const lines = bytes('logs/whole/metrics.jsonl').toString().trim().split('\n');
    const measured = lines.map((line) => JSON.parse(line) as Record<string, number>);
    expect(measured.map(({ step }) => step)).toEqual([4, 8, 12, 12]);
    expect(measured[2]['lr/diffusion']).toBeCloseTo(4e-4, 8);
    expect(measured[3]['val/loss_simple_ema']).toBeGreaterThan(0);
    const pictures = readdirSync(file('logs/whole/images/val')).sort();
    const names = [
      ...['denoising_row', 'diffusion_row', 'inputs', 'mask', 'progressive_row'],
      ...['reconstructions', 'samples', 'samples_inpainting', 'samples_outpainting'],
    ];
    expect(pictures).toEqual(names.map((name) => `${name}-00000012.png`));
  });

  test('makes the same picture of a seed whatever is made beside it', async () => {
    const sample = (folder: string, ...args: string[]) => {
      const model = ['--model', file('logs/whole'), '--steps', '6', '--eta', '1'];
      return emulsion(['sample', ...model, '-o', file(folder), ...args]);
    };
    const [four, two] = await Promise.all([
      sample('four', '-n', '4', '--grid', '--npz'),
      sample('two', '-n', '2', '--seed', '2', '--batch', '1'),
    ]);
    for (const { status, stderr } of [four, two]) expect([status, stderr]).toEqual([0, '']);
    expect(four.stdout).toMatch(
      /^4 pictures in [\d.]+ s \([\d.]+ per second\): .*000000\.png to .*000003\.png\n$/,
    );
    for (const [i, same] of [2, 3].entries())
      expect(bytes(`two/00000${i}.png`).equals(bytes(`four/00000${same}.png`)), `${i}`).toBe(true);
    expect(bytes('four/000000.png').equals(bytes('four/000001.png'))).toBe(false);
    expect(await readImageSize(file('four/grid-000000.png'))).toEqual({ height: 36, width: 138 });
    // four pictures of 3072 bytes behind a header of 128
    const npz = bytes('four/samples-000000-4x32x32x3.npz');
    const pixels = await sharp(file('four/000001.png')).raw().toBuffer();
    expect(npz.indexOf(pixels)).toBe(npz.indexOf('\x93NUMPY', 'latin1') + 128 + 3072);
  });

  test('Ctrl-C keeps whole pictures', async () => {
    const model = ['--model', file('logs/whole'), '-n', '1000', '--steps', '20'];
    const at = file('stopped/000003.png');
    const { status, stdout } = await emulsion(
      ['sample', ...model, '-o', file('stopped'), '--grid'],
      {
        signal: 'SIGINT',
        at,
      },
    );
    expect(status).toBe(130);
    const count = Number(/Interrupted: (\d+) of 1000 pictures/.exec(stdout)![1]);
    const files = readdirSync(file('stopped'));
    expect(files).toHaveLength(count + 1); // and sampling_config.json
    const [run] = JSON.parse(bytes('stopped/sampling_config.json').toString()) as unknown[];
    expect(run).toMatchObject({ first: 0, count });
    for (const name of files.filter((each) => each.endsWith('.png')))
      expect((await sharp(file(`stopped/${name}`)).stats()).channels).toHaveLength(3);
  });

  test('is told by inspect, as are its run, its states and its configuration', async () => {
    const state = 'logs/whole/checkpoints/step-00000008.safetensors';
    const run = await told('logs/torn');
    const model = await told('logs/whole/model', { json: true });
    const ofState = await told(state, { json: true });
    const first = await told('logs/first/model', { keys: true });
    const yaml = await told('logs/whole/config.yaml');
    expect(run).toMatch(/torn: folder of a run\n {2}model +ldm\.models.*LatentDiffusion\n/);
    expect(run).toMatch(/trained +12 steps\n/);
    expect(run).toMatch(/saved states +step-00000004\.safetensors, .*8\.safetensors, .*12\.safe/);
    const facts = JSON.parse(model) as Record<string, unknown>;
    expect(facts).toMatchObject({
      kind: 'model folder',
      model: 'latent diffusion model',
      ema: true,
    });
    const scale = facts.latentScale as number;
    expect(scale).toBeGreaterThan(0);
    expect(JSON.parse(ofState)).toMatchObject({
      steps: 8,
      images: 32,
      latentScale: scale,
      ema: true,
    });
    expect(first).toMatch(/model +KL-regularised first stage/);
    expect(first).toContain('  encoder.conv_in.weight  float32 [8, 3, 3, 3]');
    expect(yaml).toMatch(/config\.yaml: configuration\n(?: {2}.*\n)+ {2}moving average {2}yes/);
  });
});

describe('classes', () => {
  const conditional = [
    'model.params.cond_stage_config={target: ldm.modules.encoders.modules.ClassEmbedder, params: {embed_dim: 8, n_classes: 4, unconditional_class: 3}}',
    'model.params.cond_stage_key=class_label',
    'model.params.conditioning_key=crossattn',
    'model.params.unconditional_probability=0.1',
    'model.params.unet_config.params.use_spatial_transformer=true',
    'model.params.unet_config.params.context_dim=8',
    'data.params.train.params.labels=folders',
    'data.params.validation.params.labels=folders',
    'lightning.callbacks.image_logger.params.disabled=true',
  ];
  const roots = ['train', 'validation'].map(
    (split) => `data.params.${split}.params.data_root=${file('classed')}`,
  );

  test('come from folders; latents are encoded once; samples are asked for by name', async () => {
    const names = ['cat', 'dog', 'owl'];
    for (const [i, name] of readdirSync(file('pictures')).entries())
      cpSync(file(`pictures/${name}`), file(`classed/${names[i % 3]}/${name}`));
    const stage = 'model.params.first_stage_config.params.ckpt_path=';
    const weights = `${stage}${file('logs/first/model/model.safetensors')}`;
    const options = { logdir: file('logs'), config: [file('second.yaml')], name: 'classed' };
    await run([...conditional, ...roots, weights], { ...options, steps: 2, cacheLatents: true });
    const index = file('logs/classed/latents/train/index.json');
    expect(JSON.parse(readFileSync(index, 'utf8'))).toMatchObject({ count: 12, labels: true });
    expect(bytes('logs/classed/model/classes.txt').toString()).toBe('cat\ndog\nowl\n');

    const written = statSync(index).mtimeMs;
    await run([], { logdir: '', config: [], resume: file('logs/classed'), steps: 3 });
    expect(statSync(index).mtimeMs).toBe(written);
    expect(readdirSync(file('logs/classed/checkpoints'))).toContain('step-00000003.safetensors');

    // Of other pictures, or of who knows what, they are not taken for these.
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const resumed = { logdir: '', config: [], resume: file('logs/classed') };
    const origin = () => (JSON.parse(readFileSync(index, 'utf8')) as { origin: string }).origin;
    const before = origin();
    cpSync(file('classed'), file('others'), { recursive: true });
    const other = `data.params.train.params.data_root=${file('others')}`;
    await run([other], { ...resumed, steps: 4 });
    expect(warn.mock.calls.flat()).toEqual([
      expect.stringMatching(
        /latents.train: .* other pictures or another first stage; encoding again/,
      ),
    ]);
    const after = origin();
    expect(after).not.toBe(before);
    writeFileSync(index, readFileSync(index, 'utf8').replace(/,\s*"origin": "\w+"/, ''));
    expect(origin()).toBeUndefined();
    await run([], { ...resumed, steps: 5 });
    expect(warn.mock.lastCall).toEqual([expect.stringContaining('do not say what they are of')]);
    expect(origin()).toBe(after);
    warn.mockRestore();

    const sample = {
      model: file('logs/classed/model'),
      sampler: 'ddim',
      steps: 3,
      quiet: true,
    } as const;
    const shared = { ...sample, batch: 4, guidance: 2, seed: 0 };
    await classPictures(['owl', '0'], {
      ...shared,
      count: 2,
      grid: true,
      output: file('owls'),
    });
    expect(await readImageSize(file('owls/grid-000000.png'))).toEqual({ height: 70, width: 70 });
    const [told] = JSON.parse(bytes('owls/sampling_config.json').toString()) as unknown[];
    expect(told).toMatchObject({
      first: 0,
      count: 4,
      classes: [2, 0],
      guidance: 2,
      weights: 'ema',
    });
    // Picture 2 of the same folder and seed, alone.
    await classPictures(['cat'], { ...shared, seed: 2, count: 1, output: file('cat') });
    expect(bytes('cat/000000.png').equals(bytes('owls/000002.png'))).toBe(true);
    const unknown = classPictures(['cow'], { ...shared, count: 1, output: file('cow') });
    await expect(unknown).rejects.toThrow(
      /no class 'cow': expected an id from 0 to 3, or one of cat; dog; owl/,
    );
  });

  test('may be added to the time embedding', async () => {
    const adm = [
      'model.params.cond_stage_config={target: torch.nn.Identity}',
      'model.params.conditioning_key=adm',
      'model.params.unconditional_class=3',
      'model.params.unconditional_probability=0.5',
      'model.params.unet_config.params.num_classes=4',
    ];
    const labels = conditional.filter((each) => each.includes('labels'));
    const overrides = [...adm, ...labels, ...roots];
    const options = { logdir: file('logs'), config: [file('second.yaml')], name: 'adm', steps: 2 };
    await run(overrides, { ...options, cacheLatents: true });
    const sample = { model: file('logs/adm'), sampler: 'ddim', steps: 3, quiet: true } as const;
    const output = file('adm-owl');
    await classPictures(['owl'], { ...sample, batch: 4, seed: 0, count: 1, output });
    const [told] = JSON.parse(bytes('adm-owl/sampling_config.json').toString()) as unknown[];
    expect(told).toMatchObject({ classes: [2], guidance: 3 });
    const few = overrides.map((each) => each.replace('class=3', 'class=2'));
    const crowded = run(few, { ...options, name: 'refused' });
    await expect(crowded).rejects.toThrow(/lie in 3 class folders.*num_classes of the network/);
  });

  test('must be there', async () => {
    const options = { logdir: file('logs'), config: [file('second.yaml')], name: 'refused' };
    const unlabelled = run(
      conditional.filter((each) => !each.includes('labels')),
      options,
    );
    await expect(unlabelled).rejects.toThrow(/conditioned on classes, and the pictures have none/);
    const few = conditional.map((each) => each.replace('n_classes: 4', 'n_classes: 3'));
    const crowded = run(
      [...few, ...roots].map((each) => each.replace('class: 3', 'class: 2')),
      options,
    );
    await expect(crowded).rejects.toThrow(
      /lie in 3 class folders, and the model has 2 classes for them/,
    );
    expect(existsSync(file('logs/refused'))).toBe(false);
  });
});

describe('weights to begin with', () => {
  const built = async (...overrides: string[]) => {
    const tree = await loadConfigTree([file('second.yaml')], overrides);
    const { model, data } = await buildLatentDiffusionRun(readLatentDiffusionTraining(tree));
    await data.dispose?.();
    return model.stateDict();
  };
  const values = (state: ReadonlyMap<string, Tensor>, key: string) => state.get(key)!.data();
  const [network, stage] = [
    'model.diffusion_model.time_embed.0.weight',
    'first_stage_model.encoder.conv_in.weight',
  ];

  test('are a whole model or parts of it', async () => {
    const plain = await built();
    const [own, bare] = [
      'model.params.ckpt_path=',
      'model.params.first_stage_config.params.ckpt_path=null',
    ];
    const trained = await built(`${own}${file('logs/whole/model')}`, bare);
    const saved = await loadLatentDiffusion(file('logs/whole/model'), undefined, {
      weights: 'raw',
    });
    const expected = saved.stateDict();
    for (const key of [network, stage])
      expect(await values(trained, key)).toEqual(await values(expected, key));
    expect(await values(plain, network)).not.toEqual(await values(expected, network));
    expect(await values(plain, stage)).toEqual(await values(expected, stage));

    const ignored = 'model.params.ignore_keys=[model.diffusion_model.time_embed]';
    const part = await built(`${own}${file('logs/whole/model/model.safetensors')}`, ignored);
    expect(await values(part, network)).toEqual(await values(plain, network));
  });

  test.each<[string, string[], RegExp]>([
    [
      'no first stage',
      ['model.params.first_stage_config.params.ckpt_path=null'],
      /no weights of the first stage.*ckpt_path/,
    ],
    [
      'those of another model',
      [`model.params.ckpt_path=${file('logs/first/model')}`],
      /is of another network than the spec/,
    ],
    [
      'those of nothing in it',
      [`model.params.ckpt_path=${file('other.safetensors')}`],
      /other\.safetensors holds none of the model's keys, such as /,
    ],
    ['none', ['model.params.ckpt_path=nowhere.ckpt'], /nowhere\.ckpt: cannot be read/],
  ])('%s is refused', async (_what, overrides, message) => {
    await writeSafetensors(file('other.safetensors'), new Map([['weight', zeros([2])]]));
    await expect(built(...overrides)).rejects.toThrow(message);
  });
});
