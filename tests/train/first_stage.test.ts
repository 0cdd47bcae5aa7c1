// The task of training a first stage, small: what each phase trains, sees and reports.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import {
  AutoencoderKL,
  autocast,
  firstStageTask,
  LambdaLR,
  LPIPSWithDiscriminator,
  manualSeed,
  noGrad,
  openRunFolder,
  psnr,
  randn,
  ssim,
  tidy,
  Trainer,
  VQLPIPSWithDiscriminator,
  VQModel,
  type DataSource,
  type FirstStageTaskOptions,
  type ImageBatch,
  type LossParts,
  type StepContext,
  type RecordableLoss,
  type Tensor,
} from '../../lib/index.js';
import { narrowLpips } from '../metrics/narrow_lpips.js';

const perceptual = (await narrowLpips()).eval();

const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 1],
  numResBlocks: 1,
  inChannels: 3,
  resolution: 16,
  zChannels: 2,
  normGroups: 4,
};
const lossConfig = { discStart: 3, discNdf: 4, discNumLayers: 2, perceptualWeight: 0 };

function klTask(options: Partial<FirstStageTaskOptions> = {}, parts: LossParts = {}) {
  manualSeed(1);
  const model = new AutoencoderKL({ ddconfig, embedDim: 2 });
  const loss = new LPIPSWithDiscriminator({ ...lossConfig, klWeight: 1e-6 }, parts);
  return { model, loss, task: firstStageTask({ model, loss, learningRate: 1e-3, ...options }) };
}

function vqTask(options: Partial<FirstStageTaskOptions> = {}, parts: LossParts = {}) {
  manualSeed(1);
  const model = new VQModel({ ddconfig: { ...ddconfig, doubleZ: false }, embedDim: 2, nEmbed: 32 });
  const loss = new VQLPIPSWithDiscriminator({ ...lossConfig, nClasses: 32 }, parts);
  return { model, loss, task: firstStageTask({ model, loss, learningRate: 1e-3, ...options }) };
}

const at = (step: number, rest: Partial<StepContext> = {}): StepContext => ({
  step,
  micro: 0,
  accumulate: 1,
  seed: 23,
  ...rest,
});

function pictures(count: number, side = 16): ImageBatch {
  const image = noGrad(() => randn([count, side, side, 3]).mul(0.5));
  return { image, index: [], path: [] };
}

const read = async (tensors: Readonly<Record<string, Tensor>>): Promise<Record<string, number>> =>
  Object.fromEntries(
    await Promise.all(Object.entries(tensors).map(async ([key, x]) => [key, await x.item()])),
  ) as Record<string, number>;

/** The reported numbers of a phase. */
const logged = (
  { task }: ReturnType<typeof klTask | typeof vqTask>,
  phase: 0 | 1,
  batch: ImageBatch,
  context: StepContext,
) => tidy(() => read(task.phases[phase].loss(batch, context).log));

describe('the phases', () => {
  test('train the autoencoder, then the discriminator, with the original’s Adam', () => {
    const { model, loss, task } = klTask({ lrGFactor: 2 });
    expect(task.phases.map(({ name }) => name)).toEqual(['autoencoder', 'discriminator']);
    const [autoencoder, discriminator] = task.phases;
    expect(autoencoder.parameters).toEqual(model.parameters());
    expect(discriminator.parameters).toEqual(loss.discriminator.parameters());
    expect(autoencoder.parameters).not.toContain(loss.logvar);
    expect(autoencoder.optimizer.groups[0]).toMatchObject({
      lr: 2e-3,
      betas: [0.5, 0.9],
      eps: 1e-8,
    });
    expect(discriminator.optimizer.groups[0]).toMatchObject({ lr: 1e-3, weightDecay: 0 });
  });

  test('follow one schedule', () => {
    const { task } = vqTask({ schedule: { schedule: (n) => 1 / (n + 1) } });
    for (const { schedule, optimizer } of task.phases) {
      expect(schedule).toBeInstanceOf(LambdaLR);
      schedule!.step();
      expect(optimizer.groups[0].lr).toBe(5e-4);
    }
  });

  test('report the original’s terms, and the latents', async () => {
    const kl = klTask();
    const batch = pictures(2);
    const terms = [
      'total_loss',
      'logvar',
      'nll_loss',
      'rec_loss',
      'd_weight',
      'disc_factor',
      'g_loss',
    ];
    const latents = ['latent_mean', 'latent_std'];
    const first = await logged(kl, 0, batch, at(0));
    expect(Object.keys(first).sort()).toEqual([...terms, ...latents, 'kl_loss'].sort());
    expect(first.disc_factor).toBe(0);
    expect((await logged(kl, 0, batch, at(3))).disc_factor).toBe(1);
    expect(Object.keys(await logged(kl, 1, batch, at(3)))).toEqual([
      'disc_loss',
      'logits_real',
      'logits_fake',
    ]);
    const vq = await logged(vqTask(), 0, batch, at(0));
    expect(vq).toMatchObject({ p_loss: 0 });
    expect(vq.perplexity).toBeGreaterThanOrEqual(1);
    expect(vq.cluster_usage).toBeGreaterThanOrEqual(1);
  });

  test('tell how many codes were ever used, and how many died', async () => {
    const vq = vqTask({ usageWindow: 2 });
    const batches = Array.from({ length: 4 }, () => pictures(1));
    const chosen = batches.map(({ image }) => [
      ...new Set(vq.model.encode(image).indices.dataSync() as Int32Array),
    ]);
    for (const [step, batch] of batches.entries()) {
      const { codes_used, codes_dead } = await logged(vq, 0, batch, at(step));
      expect(codes_used).toBe(new Set(chosen.slice(0, step + 1).flat()).size);
      expect(codes_dead).toBe(
        32 - new Set(chosen.slice(Math.max(0, step - 1), step + 1).flat()).size,
      );
    }
    expect(Object.keys(vq.task.modules)).toEqual(['model', 'loss', 'usage']);
  });

  test('leave no gradient on the other’s parameters where they are frozen', () => {
    const { model, loss, task } = klTask();
    loss.requiresGrad_(false);
    tidy(() => task.phases[0].loss(pictures(2), at(3)).loss.backward());
    expect(model.parameters().every((x) => x.grad !== null)).toBe(true);
    expect(loss.discriminator.parameters().every((x) => x.grad === null)).toBe(true);
    model.zeroGrad();
    loss.discriminator.requiresGrad_(true);
    tidy(() => task.phases[1].loss(pictures(2), at(3)).loss.backward());
    expect(loss.discriminator.parameters().every((x) => x.grad !== null)).toBe(true);
    expect(model.parameters().every((x) => x.grad === null)).toBe(true);
  });

  test('draw the posterior from seed, step and batch, afresh in each phase', async () => {
    const kl = klTask();
    const batch = pictures(2);
    const draws = new Set<string>();
    for (const context of [
      at(0),
      at(1),
      at(0, { micro: 1, accumulate: 2 }),
      at(1, { accumulate: 2 }),
    ])
      for (const phase of kl.task.phases) {
        const { inputs } = phase.loss(batch, context) as RecordableLoss;
        draws.add((await inputs[1].data()).join());
      }
    // Step 1 of single batches and batch 1 of a pair are the same place in the training.
    expect(draws.size).toBe(2 * 3);
    const [a, b] = [await logged(kl, 0, batch, at(0)), await logged(kl, 0, batch, at(0))];
    expect(a.latent_mean).toBe(b.latent_mean);
    expect((await logged(kl, 0, batch, at(1))).latent_mean).not.toBe(a.latent_mean);
    expect((await logged(kl, 0, batch, at(0, { seed: 5 }))).latent_mean).not.toBe(a.latent_mean);
  });

  test('see batches at drawn sides, the largest first', async () => {
    const vq = vqTask({ batchResizeRange: [16, 32] });
    const seen = vi.spyOn(vq.model, 'encodeToPrequant');
    const sides: number[][] = [];
    for (let step = 0; step < 12; ++step) {
      for (const phase of [0, 1] as const) await logged(vq, phase, pictures(1), at(step));
      sides.push(seen.mock.calls.slice(-2).map(([x]) => x.shape[1]));
      expect(seen.mock.lastCall![0].shape[2]).toBe(sides.at(-1)![1]);
    }
    expect(sides.slice(0, 5).flat()).toEqual(Array(10).fill(32));
    expect(sides.every(([a, b]) => a === b)).toBe(true);
    expect(new Set(sides.flat())).toEqual(new Set([16, 32]));
  });
});

test('model and loss must belong together', () => {
  const { model } = klTask();
  const { loss } = vqTask();
  expect(() => firstStageTask({ model, loss, learningRate: 1 })).toThrow(
    /Got a AutoencoderKL with a VQLPIPSWithDiscriminator/,
  );
  expect(() => klTask({ learningRate: 0 })).toThrow(/learningRate/);
});

describe('validation', () => {
  async function* batchesOf(...all: ImageBatch[]): AsyncGenerator<ImageBatch> {
    yield* all;
  }

  /** Means over the pictures of some batches, taken of the model by hand. */
  function expectedOf(reconstruct: (image: Tensor, batch: number) => Tensor, ...all: ImageBatch[]) {
    const metrics = { psnr, ssim, lpips: (a: Tensor, b: Tensor) => perceptual.forward(a, b) };
    const count = all.reduce((sum, { image }) => sum + image.shape[0], 0);
    const back = all.map(({ image }, i) => reconstruct(image, i).clamp(-1, 1));
    const meanOf = (metric: (typeof metrics)['psnr']): number =>
      all.map(({ image }, i) => metric(image, back[i]).sum().itemSync()).reduce((a, b) => a + b) /
      count;
    return Object.fromEntries(
      Object.entries(metrics).map(([name, metric]) => [name, meanOf(metric)]),
    );
  }

  const close = (numbers: Record<string, number>) =>
    Object.fromEntries(
      Object.entries(numbers).map(([name, value]) => [name, expect.closeTo(value, 4) as number]),
    );

  test('measures pictures, and weighs a short last batch by them: VQ', async () => {
    const { model, loss, task } = vqTask({}, { perceptual });
    for (const module of [model, loss]) module.eval();
    const batches = [pictures(3), pictures(1)];
    await noGrad(async () => {
      const found = await task.validate!(batchesOf(...batches), at(7));
      const expected = expectedOf((image) => model.forward(image).reconstruction, ...batches);
      expect(expected.lpips).toBeGreaterThan(0.01);
      expect(found).toMatchObject(close(expected));
      expect(found.rec_loss).toBeGreaterThan(0);
      expect(found.disc_loss).toBeGreaterThan(0);
      expect(found).not.toHaveProperty('codes_used'); // they are the training's
    });
  });

  test('measures pictures: KL, in 16 bits too', async () => {
    const { model, loss, task } = klTask({}, { perceptual });
    for (const module of [model, loss]) module.eval();
    const sampled = vi.spyOn(model, 'forward');
    await noGrad(async () => {
      for (const dtype of [false, 'bfloat16'] as const)
        await autocast(dtype, async () => {
          const batches = [pictures(2)];
          const found = await task.validate!(batchesOf(...batches), at(7));
          const [, noise] = sampled.mock.lastCall!;
          const { reconstruction } = model.forward(batches[0].image, noise);
          const expected = autocast(false, () =>
            expectedOf(() => reconstruction.to('float32'), ...batches),
          );
          expect(found).toMatchObject(close(expected));
        });
    });
  });

  test('leaves out what cannot be measured', async () => {
    const { model } = klTask();
    const loss = new LPIPSWithDiscriminator({ ...lossConfig, discNumLayers: 1 });
    const task = firstStageTask({ model, loss, learningRate: 1 });
    const found = await noGrad(() => task.validate!(batchesOf(pictures(1, 10)), at(0)));
    expect(Object.keys(found)).toContain('psnr');
    expect(Object.keys(found)).not.toContain('ssim'); // smaller than a window
    expect(Object.keys(found)).not.toContain('lpips');
  });
});

test('codes are counted among those in use, where a list names them', async () => {
  manualSeed(1);
  const config = { ddconfig: { ...ddconfig, doubleZ: false }, embedDim: 2, nEmbed: 32 };
  const model = new VQModel({ ...config, remap: [3, 5, 8] });
  const loss = new VQLPIPSWithDiscriminator({ ...lossConfig, nClasses: 32 });
  const task = firstStageTask({ model, loss, learningRate: 1e-3 });
  const found = await tidy(() => read(task.phases[0].loss(pictures(2), at(0)).log));
  expect(found.codes_used + found.codes_dead).toBe(3);
  // Three codes of three are no collapse, three of 32 would be.
  const log = { perplexity: 3, cluster_usage: 3 };
  expect(Array.from({ length: 120 }, (_, i) => task.warnings!(log, at(i))).flat()).toEqual([]);
});

describe('ActNorm', () => {
  test('starts from the first batch, even if that step is left out', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'emulsion-actnorm-'));
    manualSeed(1);
    const model = new AutoencoderKL({ ddconfig, embedDim: 2 });
    const loss = new LPIPSWithDiscriminator({ ...lossConfig, useActnorm: true });
    const task = firstStageTask({ model, loss, learningRate: 1e-3 });
    const data: DataSource<ImageBatch> = {
      batchesPerEpoch: 1,
      async *batches() {
        for (;;) yield pictures(2);
      },
      async *epoch() {},
    };
    try {
      const run = new Trainer(task, data, {
        folder: await openRunFolder(folder),
        steps: 1,
        precision: 'float16', // whose first scale is too large for a loss that is a sum over pixels
      });
      expect((await run.run()).skipped).toBeGreaterThan(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
    const state = loss.discriminator.stateDict();
    expect(await state.get('main.3.initialized')!.item()).toBe(1);
    expect(await state.get('main.3.loc')!.abs().sum().item()).toBeGreaterThan(0);
  });
});

test('pictures show inputs above reconstructions, and samples of a KL model', async () => {
  const show = (made: ReturnType<typeof klTask | typeof vqTask>) =>
    noGrad(() => tidy(() => made.task.pictures!(pictures(5), at(2))));
  const kl = await show(klTask({ maxImages: 3 }));
  const width = 3 * 18 + 2;
  expect(kl.reconstructions.shape).toEqual([2 * 18 + 2, width, 3]);
  expect(kl.samples.shape).toEqual([18 + 2, width, 3]);
  expect(Object.keys(await show(vqTask()))).toEqual(['reconstructions']);
});

test('warnings name a collapsed codebook once it lasts', async () => {
  const vq = vqTask();
  const log = await logged(vq, 0, pictures(2), at(0));
  const collapsed = { ...log, perplexity: 1, cluster_usage: 1 };
  const said = Array.from({ length: 120 }, (_, i) => vq.task.warnings!(collapsed, at(i))).flat();
  expect(said.filter((text) => text.includes('codebook has collapsed'))).toHaveLength(1);
});
