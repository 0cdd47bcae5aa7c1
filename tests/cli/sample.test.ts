// `emulsion sample` on models that were never trained: which options go together, which files come out.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { samplePictures } from '../../lib/cli/sample_pictures.js';
import type { SampleCommandOptions } from '../../lib/cli/sample.js';
import {
  Ema,
  LatentDiffusion,
  latentDiffusionPresets,
  noise,
  noGrad,
  readImage,
  saveLatentDiffusion,
  tidy,
  UNetModel,
  writeImage,
  writeSafetensors,
  type LatentDiffusionSpec,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';

const inFolder = temporaryFolder();
const [plain, classes] = [inFolder('plain'), inFolder('classes')];
let network: LatentDiffusion;

beforeAll(async () => {
  network = await shaken(plainSpec({ diffusion: { timesteps: 20 } }));
  await saveLatentDiffusion(plain, network);
  await saveLatentDiffusion(classes, await shaken(tinySpec()));
});

const bytes = (path: string) => readFileSync(inFolder(path));

const sample = (folder: string, options: Partial<SampleCommandOptions> = {}) =>
  samplePictures({
    ...{ model: plain, count: 1, sampler: 'ddim', steps: 3, seed: 0, quiet: true },
    ...{ output: inFolder(folder), ...options },
  });

describe('pictures', () => {
  test('are numbered on, each with a seed of its own', async () => {
    await sample('in-one', { count: 6, seed: 5 });
    await sample('in-two', { count: 5, seed: 5 });
    await sample('in-two', { count: 1, seed: 5 });
    const names = [0, 1, 2, 3, 4, 5].map((i) => `00000${i}.png`);
    expect(readdirSync(inFolder('in-two'))).toEqual([...names, 'sampling_config.json']);
    for (const name of names)
      expect(bytes(`in-two/${name}`).equals(bytes(`in-one/${name}`)), name).toBe(true);
    const runs = JSON.parse(bytes('in-two/sampling_config.json').toString()) as unknown[];
    expect(runs).toMatchObject([
      { first: 0, count: 5, seed: 5, sampler: 'ddim', steps: 3, weights: 'raw' },
      { first: 5, count: 1 },
    ]);
  });

  test('are made in a folder by one process at a time', async () => {
    await sample('in-turn');
    const lock = inFolder('in-turn/lock.json');
    expect(existsSync(lock)).toBe(false);
    writeFileSync(lock, JSON.stringify({ pid: process.ppid, host: hostname(), since: 'noon' }));
    await expect(sample('in-turn')).rejects.toThrow(
      `process ${process.ppid} on ${hostname()} writes pictures into this folder since noon`,
    );
    expect(readdirSync(inFolder('in-turn'))).toHaveLength(3);
    rmSync(lock);
    await sample('in-turn');
  });

  test('are counted as they are there where not all could be made', async () => {
    const runs = () => JSON.parse(bytes('in-part/sampling_config.json').toString()) as unknown[];
    const whole = LatentDiffusion.prototype.sample;
    const failing = (call: number) =>
      vi.spyOn(LatentDiffusion.prototype, 'sample').mockImplementation(function (
        this: LatentDiffusion,
        ...args
      ) {
        if (call-- === 0) throw new RangeError('gone');
        return whole.apply(this, args);
      });
    onTestFinished(() => void vi.restoreAllMocks());
    failing(0);
    await expect(sample('in-part', { count: 3 })).rejects.toThrow('gone');
    expect(readdirSync(inFolder('in-part'))).toEqual([]);
    failing(2);
    await expect(sample('in-part', { count: 3 })).rejects.toThrow('gone');
    expect(runs()).toMatchObject([{ first: 0, count: 2 }]);
    vi.restoreAllMocks();
    await sample('in-part');
    expect(runs()).toMatchObject([
      { first: 0, count: 2 },
      { first: 2, count: 1 },
    ]);
  });

  test('are told with their seeds by --json, and nothing else is', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => log.mockRestore());
    await sample('in-json', { count: 2, seed: 5, quiet: false, json: true });
    expect(log).toHaveBeenCalledTimes(1);
    const told = JSON.parse(log.mock.calls[0][0] as string) as { seconds: number };
    const file = (name: string) => join(inFolder('in-json'), name);
    expect(told).toMatchObject({
      pictures: [
        { file: file('000000.png'), seed: 5 },
        { file: file('000001.png'), seed: 6 },
      ],
      wanted: 2,
    });
    expect(told.seconds).toBeGreaterThan(0);
  });

  test.each([undefined, 3])(
    'are the same to the bit however many, with --batch %s',
    async (batch) => {
      const made = vi.spyOn(LatentDiffusion.prototype, 'sample');
      onTestFinished(() => made.mockRestore());
      const counts = [4, 2, 1];
      const folders = counts.map((count) => `${count}-by-${batch}`);
      for (const [i, count] of counts.entries()) await sample(folders[i], { count, batch });
      for (const folder of folders.slice(1))
        for (const name of readdirSync(inFolder(folder)).filter((each) => each.endsWith('.png')))
          expect(bytes(`${folder}/${name}`).equals(bytes(`${folders[0]}/${name}`)), name).toBe(
            true,
          );
      // What differs between batches rarely shows in bytes: the network must never see groups of another size. And
      // one picture costs one, unless more are asked for at once.
      const sizes = made.mock.calls.map(([{ seed }]) => (seed as number[]).length);
      expect(sizes).toEqual(batch === 3 ? [3, 3, 3, 3] : [1, 1, 1, 1, 1, 1, 1]);
      const [run] = JSON.parse(bytes(`${folders[0]}/sampling_config.json`).toString()) as object[];
      expect(run).toMatchObject({ count: 4, batch: batch ?? 1 });
    },
  );

  test('say how many steps were asked for, and how many it took', async () => {
    const noted = async (folder: string, options: Partial<SampleCommandOptions>) => {
      await sample(folder, options);
      const runs = JSON.parse(bytes(`${folder}/sampling_config.json`).toString()) as object[];
      return runs[0];
    };
    // every second of 20 timesteps are 10
    expect(await noted('eight', { steps: 8 })).toMatchObject({ steps: 8, stepsTaken: 10 });
    expect(await noted('all', { steps: undefined })).toMatchObject({ steps: 20, stepsTaken: 20 });
    await writeImage(inFolder('init.png'), noise([16, 16, 3], { seed: 1 }).clamp(-1, 1));
    const begun = { steps: 10, init: inFolder('init.png'), strength: 0.5 };
    expect(await noted('begun', begun)).toMatchObject({ steps: 10, stepsTaken: 5, strength: 0.5 });
  });

  test.each(['plms', 'ddpm', 'dpm++', 'euler', 'euler-a', 'unipc'] as const)(
    '%s is a sampler, with a result of its own',
    async (sampler) => {
      if (!existsSync(inFolder('ddim'))) await sample('ddim');
      await sample(sampler, { sampler, steps: sampler === 'ddpm' ? undefined : 3 });
      expect(bytes(`${sampler}/000000.png`)).not.toEqual(bytes('ddim/000000.png'));
    },
  );

  test('spacing and eta change them', async () => {
    await sample('as-is', { steps: 4 });
    await sample('quad', { steps: 4, spacing: 'quad' });
    await sample('noisy', { steps: 4, eta: 1 });
    await sample('karras', { steps: 4, sampler: 'euler', spacing: 'karras' });
    await sample('leading', { steps: 4, sampler: 'euler', spacing: 'leading' });
    for (const [one, other] of [
      ['quad', 'as-is'],
      ['noisy', 'as-is'],
      ['karras', 'leading'],
    ])
      expect(bytes(`${one}/000000.png`)).not.toEqual(bytes(`${other}/000000.png`));
  });

  test('begin with another, of which a strength of 0 leaves everything', async () => {
    const images = ['small.png', 'wide.png'].map((name) => inFolder(name));
    await writeImage(images[0], noise([16, 16, 3], { seed: 1 }).clamp(-1, 1));
    await writeImage(images[1], noise([20, 30, 3], { seed: 1 }).clamp(-1, 1));
    await sample('kept', { init: images[0], strength: 0 });
    await sample('changed', { init: images[0] });
    await sample('cut', { init: images[1], count: 2 });
    expect(bytes('changed/000000.png')).not.toEqual(bytes('kept/000000.png'));
    expect(bytes('cut/000001.png')).not.toEqual(bytes('cut/000000.png'));
    await noGrad(() =>
      tidy(async () => {
        const start = (await readImage(images[0])).reshape([1, 16, 16, 3]);
        await writeImage(inFolder('back.png'), network.decode(network.encode(start)));
      }),
    );
    expect(bytes('kept/000000.png')).toEqual(bytes('back.png'));
  });
});

describe('the model', () => {
  test('is told by a preset or a configuration where it is a file', async () => {
    const presets = latentDiffusionPresets as Record<string, LatentDiffusionSpec>;
    presets.tiny = network.spec;
    onTestFinished(() => void delete presets.tiny);
    const file = inFolder('whole.safetensors');
    await writeSafetensors(file, network.exportState());
    await sample('of-folder');
    await sample('of-file', { model: file, preset: 'tiny' });
    expect(bytes('of-file/000000.png')).toEqual(bytes('of-folder/000000.png'));

    const { unet, firstStage } = network.spec;
    const snake = (options: object): string =>
      JSON.stringify(options).replace(/[A-Z](?=\w*":)/g, (letter) => `_${letter.toLowerCase()}`);
    const { kind: _, ...stage } = firstStage;
    mkdirSync(inFolder('original'));
    writeFileSync(
      inFolder('original/config.yaml'),
      `model:
  base_learning_rate: 1.0e-06
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    timesteps: 20
    unet_config: {target: ldm.modules.diffusionmodules.openaimodel.UNetModel, params: ${snake(unet)}}
    first_stage_config: {target: ldm.models.autoencoder.AutoencoderKL, params: ${snake(stage)}}
    cond_stage_config: __is_unconditional__
data: {target: data.of.somebody.Else}
`,
    );
    await sample('of-config', { model: file, config: inFolder('original/config.yaml') });
    await writeSafetensors(inFolder('original/model.ckpt'), network.exportState());
    await sample('of-original', { model: inFolder('original') });
    for (const name of ['of-config', 'of-original'])
      expect(bytes(`${name}/000000.png`)).toEqual(bytes('of-folder/000000.png'));
  });

  test('is its moving average unless --raw says otherwise', async () => {
    const folder = inFolder('averaged');
    const ema = new Ema(network.model.namedParameters());
    using other = new UNetModel(network.spec.unet);
    const average = Object.fromEntries(
      [...other.namedParameters()].map(([key, x]) => [
        `diffusion_model${key}`.replaceAll('.', ''),
        x,
      ]),
    );
    await ema.loadStateDict({ ...ema.stateDict(), ...average });
    await saveLatentDiffusion(folder, network, { ema });
    const call = (name: string, options: object) => sample(name, { model: folder, ...options });
    await call('average', {});
    await call('told', { ema: true });
    await call('raw', { raw: true });
    await sample('single');
    expect(bytes('average/000000.png')).toEqual(bytes('told/000000.png'));
    expect(bytes('raw/000000.png')).toEqual(bytes('single/000000.png'));
    expect(bytes('raw/000000.png')).not.toEqual(bytes('average/000000.png'));
    expect(bytes('average/sampling_config.json').toString()).toContain('"weights": "ema"');
  });
});

describe('what makes no sense is refused before anything is written', () => {
  const folder = (name: string, config: unknown) => {
    mkdirSync(inFolder(name), { recursive: true });
    writeFileSync(inFolder(`${name}/config.json`), JSON.stringify(config));
    return inFolder(name);
  };
  const text = { kind: 'bert', nEmbed: 6, nLayer: 1 } as const;

  test.each<[string, () => Partial<SampleCommandOptions>, RegExp]>([
    ['steps of ddpm', () => ({ sampler: 'ddpm' }), /ddpm walks all timesteps/],
    ['eta of plms', () => ({ sampler: 'plms', eta: 1 }), /plms has no --eta/],
    [
      'spacing of another sampler',
      () => ({ spacing: 'karras' }),
      /no spacing 'karras': choose one of uniform, quad/,
    ],
    [
      'spacing of ddpm',
      () => ({ sampler: 'ddpm', steps: undefined, spacing: 'quad' }),
      /ddpm has no spacing 'quad'\./,
    ],
    [
      'more steps than there are',
      () => ({ steps: 21 }),
      /trained with 20 timesteps: --steps must be at most that/,
    ],
    ['two kinds of weights', () => ({ ema: true, raw: true }), /either --ema or --raw/],
    ['an average that is not there', () => ({ ema: true }), /holds no moving average/],
    ['strength of nothing', () => ({ strength: 0.5 }), /give it with --init/],
    ['a start that is not there', () => ({ init: 'nowhere.png' }), /nowhere\.png/],
    ['guidance of a plain model', () => ({ guidance: 2 }), /no condition that --guidance/],
    [
      'a model of classes',
      () => ({ model: classes }),
      /conditioned on classes\. Use emulsion class2img/,
    ],
    ['a preset of a folder', () => ({ preset: 'ffhq256' }), /says itself what it is/],
    [
      'a file alone',
      () => ({ model: `${plain}/model.safetensors` }),
      /name its architecture with --preset/,
    ],
    [
      'an unknown preset',
      () => ({ model: `${plain}/model.safetensors`, preset: 'x' }),
      /unknown preset 'x'/,
    ],
    ['nothing', () => ({ model: inFolder('nothing') }), /nothing: cannot be read/],
    ['an empty folder', () => ({ model: inFolder('.') }), /holds neither a model/],
    ['a grid of thousands', () => ({ count: 2000, grid: true }), /at most 1024/],
    [
      'text',
      () => ({ model: folder('text', { latentDiffusion: tinySpec({ conditioner: text }) }) }),
      /conditioned on texts\. Use emulsion txt2img/,
    ],
    [
      'a description that is wrong',
      () => ({ model: folder('wrong', { latentDiffusion: { unet: {} } }) }),
      /wrong: config\.json: /,
    ],
    [
      'a first stage',
      () => ({ model: folder('stage', { firstStage: {} }) }),
      /describes no diffusion model/,
    ],
  ])('%s', async (_what, options, message) => {
    await expect(sample('refused', options())).rejects.toThrow(message);
    expect(existsSync(inFolder('refused')) ? readdirSync(inFolder('refused')) : []).toEqual([]);
  });

  test("a folder whose notes are somebody else's", async () => {
    mkdirSync(inFolder('notes'));
    writeFileSync(inFolder('notes/sampling_config.json'), '{"mine": 1}');
    await expect(sample('notes')).rejects.toThrow(/is no list of runs/);
    expect(bytes('notes/sampling_config.json').toString()).toBe('{"mine": 1}');
  });
});
