// The recipe of a second stage: what is trained and kept, exact resumes, pictures.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import {
  AdamW,
  buildLatentDiffusion,
  latentDiffusionTask,
  manualSeed,
  noGrad,
  noise,
  openRunFolder,
  readImage,
  tidy,
  Trainer,
  type ImageBatch,
  type LatentDiffusion,
  type LatentDiffusionTaskOptions,
  type TrainerOptions,
  type TrainingTask,
} from '../../lib/index.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { makeModel, Pictures } from './noise_pictures.js';
import { newest, Notes } from './run.js';

const root = mkdtempSync(join(tmpdir(), 'emulsion-diffusion-'));
let folders = 0;
const folder = (): string => join(root, String(folders++));
afterAll(() => rmSync(root, { recursive: true }));

type Options = Partial<LatentDiffusionTaskOptions<ImageBatch>>;

function makeTask(options: Options = {}): {
  model: LatentDiffusion;
  task: TrainingTask<ImageBatch>;
} {
  const model = options.model ?? makeModel();
  const task = latentDiffusionTask({ model, learningRate: 1e-2, ...options });
  return { model, task };
}

interface Run extends Partial<Omit<TrainerOptions<ImageBatch>, 'folder'>> {
  steps: number;
  resume?: boolean;
}

async function train(
  path: string,
  task: TrainingTask<ImageBatch>,
  { resume, ...options }: Run,
): Promise<void> {
  const trainer = new Trainer(task, new Pictures(), {
    folder: await openRunFolder(path, { resume }),
    ...options,
  });
  await trainer.run();
}

const everything: Options = {
  unconditionalProbability: 0.3,
  offsetNoise: 0.1,
  schedule: { schedule: (n) => Math.min(1, (n + 1) / 4) },
};

describe('the task', () => {
  it('trains the network and the conditioner with the optimizer of the original', () => {
    const { model, task } = makeTask();
    const [{ optimizer, parameters }] = task.phases;
    expect(optimizer).toBeInstanceOf(AdamW);
    expect(optimizer.groups[0]).toMatchObject({
      lr: 1e-2,
      betas: [0.9, 0.999],
      eps: 1e-8,
      weightDecay: 0.01,
    });
    expect(parameters).toEqual(model.trainedParameters());
    expect(parameters.length).toBe(model.model.parameters().length + 1);
    const keys = Object.keys(task.ema!.ema.stateDict());
    expect(keys).toContain('diffusion_modelout2weight');
    expect(keys.length).toBe(model.model.parameters().length + 2);
    expect(makeTask({ ema: null }).task.ema).toBeUndefined();
  });

  it('goes on bit for bit after a stop', async () => {
    const [whole, halves] = [folder(), folder()];
    await train(whole, makeTask(everything).task, { steps: 6, accumulate: 2 });
    await train(halves, makeTask(everything).task, { steps: 3, accumulate: 2 });
    // weights before the state is loaded do not matter
    manualSeed(9);
    const other = buildLatentDiffusion(tinySpec({ scaleByStd: true }));
    const resumed = makeTask({ ...everything, model: other }).task;
    await train(halves, resumed, { steps: 6, accumulate: 2, resume: true });
    expect(newest(halves).equals(newest(whole))).toBe(true);
  });

  it('measures the scale before the first step, learns, and reports', async () => {
    const { model, task } = makeTask();
    const notes = new Notes();
    await train(folder(), task, {
      steps: 40,
      logEvery: 1,
      loggers: [notes],
      validation: new Pictures(1),
      validateEvery: 40,
    });
    expect(await model.scale_factor!.item()).not.toBe(1);
    const logged = notes.numbers.map(({ values }) => values['train/loss_simple']);
    const losses = logged.filter((loss) => loss !== undefined);
    expect(losses.length).toBe(40);
    const [first] = notes.numbers;
    const rate = first.values['lr/diffusion'];
    expect(first.values).toMatchObject({ lr_abs: rate, global_step: 1, epoch: 0 });
    const mean = (list: number[]) => list.reduce((a, b) => a + b) / list.length;
    expect(mean(losses.slice(-10))).toBeLessThan(mean(losses.slice(0, 10)));
    const validation = notes.numbers.find(({ values }) => 'val/loss_simple' in values)!.values;
    expect(Object.keys(validation)).toEqual(
      ['', '_ema'].flatMap((suffix) =>
        ['loss_simple', 'loss_vlb', 'loss', 'latent_std'].map((name) => `val/${name}${suffix}`),
      ),
    );
    expect(validation['val/loss_simple_ema']).not.toBe(validation['val/loss_simple']);
    expect(notes.texts).toEqual([]);
  });

  it.each(['bfloat16', 'float16'] as const)(
    'trains, validates and samples in %s',
    async (precision) => {
      const { model, task } = makeTask({ pictures: { sampling: { steps: 2, guidance: 2 } } });
      const notes = new Notes();
      await train(folder(), task, {
        steps: 2,
        precision,
        logEvery: 1,
        loggers: [notes],
        validation: new Pictures(1),
        validateEvery: 2,
        picturesEvery: 2,
      });
      const losses = notes.numbers.map(({ values }) => values['train/loss_simple']).filter(Boolean);
      expect(losses.length).toBe(2);
      expect(losses.every((loss) => loss > 0.5 && loss < 3)).toBe(true);
      expect(Object.keys(notes.files)).toContain('val/samples');
      model.dispose();
    },
  );

  it('draws pictures of what goes in and how samples come out', async () => {
    const { model, task } = makeTask({
      pictures: { maxImages: 2, logEveryT: 400, columns: 3, sampling: { steps: 4, guidance: 2 } },
    });
    const notes = new Notes();
    await train(folder(), task, { steps: 1, picturesEvery: 1, loggers: [notes] });
    const sizes: Record<string, readonly number[]> = {};
    for (const [name, file] of Object.entries(notes.files))
      sizes[name] = await tidy(async () => (await readImage(file)).shape);
    // 16 pixels and a border of two on each side; rows of images, columns of timesteps 0, 400, 800, 999
    const grid = (rows: number, columns: number) => [rows * 18 + 2, columns * 18 + 2, 3];
    expect(sizes).toMatchObject({
      'train/conditioning': [260, 518, 3],
      'train/diffusion_row': grid(2, 4),
      'train/samples_inpainting': grid(1, 2),
      'train/progressive_row': grid(2, 3),
    });
    model.dispose();
  });

  describe('draws', () => {
    const context = { step: 2, micro: 0, accumulate: 1, seed: 3 };
    const batch = { index: [0, 1, 2], path: ['a', 'b', 'c'], label: [0, 1, 2] };

    it('noise that is shifted per channel, by its deviation', async () => {
      const noiseOf = (offsetNoise: number) =>
        tidy(() => {
          const { model, task } = makeTask({ offsetNoise });
          const image = noise([3, 16, 16, 3], { seed: 4 });
          const loss = vi.spyOn(model, 'loss');
          void task.phases[0].loss({ ...batch, image }, context).loss;
          return loss.mock.calls[0][1].noise;
        });
      const [none, one, three] = [noiseOf(0), noiseOf(1), noiseOf(3)];
      const shift = one.sub(none); // [3, 8, 8, 3]
      const means = shift.mean([1, 2], { keepDims: true });
      expect(await shift.sub(means).abs().max().item()).toBeLessThan(1e-5);
      expect(await three.sub(none).sub(shift.mul(3)).abs().max().item()).toBeLessThan(1e-5);
      const each = [...((await means.data()) as Float32Array)];
      expect(new Set(each.map((x) => x.toFixed(4))).size).toBe(9);
      expect(Math.hypot(...each) / 3).toBeGreaterThan(0.3); // of deviation 1
    });

    it('samples that lose their class, as many as asked for', async () => {
      const lossOf = (unconditionalProbability: number, label: number[]) =>
        tidy(() => {
          const { task } = makeTask({ model: shakenModel, unconditionalProbability });
          const image = noise([label.length, 16, 16, 3], { seed: 4 });
          const { loss } = task.phases[0].loss({ ...batch, image, label }, context);
          return loss.item();
        });
      const shakenModel = await shaken(tinySpec());
      // class 4 stands for "none"
      const none = await lossOf(0, [4, 4, 4]);
      expect(await lossOf(1, [0, 1, 2])).toBe(none);
      expect(await lossOf(0, [0, 1, 2])).not.toBe(none);
      const loss = vi.spyOn(shakenModel, 'loss');
      await tidy(async () => {
        const { task } = makeTask({ model: shakenModel, unconditionalProbability: 0.25 });
        const label = new Array<number>(64).fill(1);
        const image = noise([64, 16, 16, 3], { seed: 4 });
        noGrad(() => task.phases[0].loss({ ...batch, image, label }, context).loss);
        const dropped = await loss.mock.calls[0][1].dropped!.data();
        const count = [...dropped].filter(Boolean).length;
        expect(count).toBeGreaterThan(6);
        expect(count).toBeLessThan(28);
      });
      shakenModel.dispose();
    });
  });

  it('warns of latents that the noise schedule is not made for', () => {
    const { task } = makeTask({ model: makeModel({ scaleByStd: false }) });
    const context = { step: 1, micro: 0, accumulate: 1, seed: 1 };
    const [warning, ...others] = task.warnings!({ latent_std: 4.2 }, context);
    expect(others).toEqual([]);
    expect(warning).toMatch(/standard deviation is 4.2[^]*Set scale_by_std/);
    expect(task.warnings!({ latent_std: 1.2 }, context)).toEqual([]);
  });

  it.each([
    [{ learningRate: 0 }, 'learningRate must be above 0'],
    [{ unconditionalProbability: 2 }, 'unconditionalProbability must lie in [0, 1]'],
    [{ offsetNoise: -1 }, 'offsetNoise be at least 0'],
  ])('refuses %o', (options, message) => {
    expect(() => makeTask(options)).toThrow(message);
  });

  it('must be told where a condition comes from', () => {
    const { unet, ...spec } = plainSpec();
    const model = buildLatentDiffusion({
      ...spec,
      unet: { ...unet, inChannels: 6 },
      conditioner: { kind: 'identity' },
      conditioningKey: 'concat',
    });
    const context = { step: 0, micro: 0, accumulate: 1, seed: 1 };
    const image = noise([1, 16, 16, 3], { seed: 1 });
    const batch = { image, index: [0], path: ['a'] };
    const loss = (options: Options, given: ImageBatch) =>
      makeTask(options).task.phases[0].loss(given, context).loss;
    expect(() => loss({}, batch)).toThrow('the pictures have no labels');
    expect(() => loss({ model }, batch)).toThrow('batches hold no conditions');
    const [, h, w] = tidy(() => model.encode(image).shape);
    const condition = noise([1, h, w, 3], { seed: 2 });
    expect(loss({ model }, { ...batch, condition }).shape).toEqual([]);
  });
});
