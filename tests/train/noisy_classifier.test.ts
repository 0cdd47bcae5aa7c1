// A classifier of noisy latents: trained on a frozen diffusion model by the trainer, saved, and leading samples.
import { beforeAll, describe, expect, it, vi } from 'vitest';
import {
  buildLatentDiffusion,
  EncoderUNetModel,
  indexSelect,
  loadEncoderUNet,
  manualSeed,
  noise,
  noisyClassifierConfig,
  noisyClassifierTask,
  openRunFolder,
  saveEncoderUNet,
  setNumThreads,
  softmax,
  stack,
  tensor,
  tidy,
  Trainer,
  type ImageBatch,
  type LatentDiffusion,
  type SampleOptions,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, tinySpec } from '../ldm/tiny_diffusion.js';
import { NumberedBatches } from './numbered_batches.js';
import { Notes } from './run.js';

const file = temporaryFolder();
const classes = 3;
const deviation = 0.3;
/** The pictures of class k are bright in channel k. */
const colours = Array.from({ length: classes }, (_, k) => [0, 1, 2].map((c) => (c === k ? 1 : -1)));

/** Batch k is a function of k; classes go round. */
class Colours extends NumberedBatches<ImageBatch> {
  constructor(
    private readonly side = 8,
    private readonly size = 12,
  ) {
    super(1);
  }

  protected override batch(number: number): ImageBatch {
    const { side, size } = this;
    const index = Array.from({ length: size }, (_, i) => number * size + i);
    const label = index.map((i) => i % classes);
    const mean = tensor(label.map((k) => colours[k]).flat(), { shape: [size, 1, 1, 3] });
    const image = tidy(() =>
      noise([size, side, side, 3], { seed: 5, step: number }).mul(deviation).add(mean),
    );
    mean.dispose();
    return { image, index, path: index.map(String), label };
  }
}

/** Diffusion on these pictures themselves, whose ε is known: that of the classes by their likelihood. */
function exactModel(): LatentDiffusion {
  const model = buildLatentDiffusion({
    ...plainSpec({ firstStage: { kind: 'identity' } }),
  });
  const { alphasCumprod } = model.diffusion.schedule;
  vi.spyOn(model, 'applyModel').mockImplementation((x, t) => {
    // whole numbers, in float32 where the call is captured
    const alphaBar = alphasCumprod[Number(t.dataSync()[0])];
    const ratio = Math.sqrt(1 / alphaBar - 1);
    const variance = deviation ** 2 + ratio ** 2;
    const apart = colours.map((c) => x.div(Math.sqrt(alphaBar)).sub(tensor(c)));
    const logs = stack(
      apart.map((d) =>
        d
          .square()
          .sum([1, 2, 3])
          .div(-2 * variance),
      ),
      1,
    );
    const shares = softmax(logs, 1); // [N, classes]
    const parts = apart.map((d, k) =>
      d.mul(indexSelect(shares, 1, tensor(BigInt64Array.of(BigInt(k)))).reshape([-1, 1, 1, 1])),
    );
    return parts.reduce((sum, part) => sum.add(part)).mul(ratio / variance);
  });
  return model;
}

const model = exactModel();
let classifier: EncoderUNetModel;
const notes = new Notes();

beforeAll(async () => {
  setNumThreads(1); // the networks are too small to be shared
  manualSeed(2);
  classifier = new EncoderUNetModel(noisyClassifierConfig(model.spec, classes, 'adaptive'));
  const task = noisyClassifierTask({ model, classifier, learningRate: 5e-3, logEveryT: 250 });
  const trainer = new Trainer(task, new Colours(), {
    folder: await openRunFolder(file('run')),
    steps: 100,
    logEvery: 50,
    validation: new Colours(),
    validateEvery: 100,
    loggers: [notes],
  });
  await trainer.run();
}, 60_000);

/** Share of samples that are brightest in the channel of their class. */
async function obeying(options: Partial<SampleOptions>): Promise<number> {
  const wanted = Array.from({ length: 24 }, (_, i) => i % classes);
  const { latents } = await model.sample({
    steps: 20,
    count: 24,
    seed: 3,
    decode: false,
    capture: false, // the network reads its timesteps
    ...options,
  });
  const means = (await latents.mean([1, 2]).data()) as Float32Array;
  const found = wanted.map((_, i) => {
    const own = [...means.slice(3 * i, 3 * i + 3)];
    return own.indexOf(Math.max(...own));
  });
  return found.filter((k, i) => k === wanted[i]).length / wanted.length;
}

describe('training', () => {
  it('learns, and validates at single levels of noise', () => {
    const logged = notes.numbers.map(({ values }) => values);
    const accuracy = logged.map((each) => each['train/acc@1']).filter((x) => x !== undefined);
    expect(accuracy).toHaveLength(2);
    const validated = logged.find((each) => 'val/loss' in each)!;
    const levels = [0, 250, 500, 750].flatMap((t) => [`val/acc@1_t${t}`, `val/acc@5_t${t}`]);
    expect(Object.keys(validated)).toEqual(['val/loss', 'val/acc@1', 'val/acc@5', ...levels]);
    expect(validated['val/acc@1_t250']).toBeGreaterThan(0.95);
    expect(validated['val/acc@1_t250']).toBeGreaterThanOrEqual(validated['val/acc@1_t750']);
    expect(validated['val/acc@5']).toBe(1);
  });

  it('touches nothing of the diffusion model', async () => {
    const frozen = buildLatentDiffusion(tinySpec({ scaleFactor: 2 }));
    const network = noisyClassifierConfig(frozen.spec, classes, 'spatial_v2');
    expect(network).toMatchObject({ imageSize: 8, inChannels: 3, outChannels: 3 });
    expect('contextDim' in network).toBe(false);
    const own = new EncoderUNetModel(network);
    const task = noisyClassifierTask({ model: frozen, classifier: own, learningRate: 1e-3 });
    expect(Object.keys(task.modules)).toEqual(['classifier']);
    const { optimizer, parameters } = task.phases[0];
    expect(optimizer.groups[0]).toMatchObject({ weightDecay: 0.01, betas: [0.9, 0.999] });
    expect(parameters).toEqual(own.parameters());
    const seen = vi.spyOn(own, 'forward');
    await tidy(async () => {
      const batch = (await new Colours(16, 3).batches().next()).value!;
      const context = { step: 0, micro: 0, accumulate: 1, seed: 1 };
      const { loss } = task.phases[0].loss(batch, context);
      loss.backward();
      expect(frozen.parameters().every(({ grad }) => grad === null)).toBe(true);
      expect(own.parameters().every(({ grad }) => grad !== null)).toBe(true);
      // the latents that it saw are those of the first stage, scaled and noised
      const [x, t] = seen.mock.calls[0];
      const draws = { seed: 1, step: 0 };
      const latents = frozen.encode(batch.image, { ...draws, stream: 0x6c64_0022 });
      const eps = noise(latents.shape, { ...draws, stream: 0x6c64_0021 });
      const expected = frozen.diffusion.qSample(latents, t, eps);
      expect(await x.sub(expected).abs().max().item()).toBe(0);
    });
    frozen.dispose();
    own.dispose();
  });

  it('is refused what cannot be', () => {
    const options = { model, classifier, learningRate: 1e-3 };
    expect(() => noisyClassifierTask({ ...options, learningRate: 0 })).toThrow('learningRate');
    expect(() => noisyClassifierTask({ ...options, logEveryT: 0 })).toThrow('logEveryT');
    const other = new EncoderUNetModel({ ...classifier.config, inChannels: 4 });
    expect(() => noisyClassifierTask({ ...options, classifier: other })).toThrow(
      "latents of 4 channels, the model's have 3",
    );
    other.dispose();
    const task = noisyClassifierTask(options);
    const image = noise([1, 8, 8, 3], { seed: 1 });
    const context = { step: 0, micro: 0, accumulate: 1, seed: 1 };
    const unlabelled = { image, index: [0], path: ['a'] };
    expect(() => task.phases[0].loss(unlabelled, context)).toThrow('the pictures have no labels');
  });

  it('can be saved and loaded', async () => {
    await saveEncoderUNet(file('classifier'), classifier);
    const loaded = await loadEncoderUNet(file('classifier'));
    await tidy(async () => {
      const [x, t] = [noise([2, 8, 8, 3], { seed: 4 }), tensor(BigInt64Array.of(3n, 700n))];
      const [a, b] = [classifier.eval(), loaded].map((each) => each.forward(x, t));
      expect([...(await b.data())]).toEqual([...(await a.data())]);
    });
    loaded.dispose();
    await expect(loadEncoderUNet(file('run'))).rejects.toThrow(/config\.json/);
  });
});

describe('sampling', () => {
  const wanted = Array.from({ length: 24 }, (_, i) => i % classes);
  const led = (scale: number) => ({ classifier: { model: classifier, classes: wanted, scale } });

  it('is led to the classes asked for', async () => {
    const alone = await obeying({});
    expect(alone).toBeGreaterThan(0.1);
    expect(alone).toBeLessThan(0.65);
    expect(await obeying(led(0))).toBe(alone);
    expect(await obeying(led(10))).toBeGreaterThan(0.9);
    expect(await obeying({ ...led(10), method: 'dpm-solver++' })).toBeGreaterThan(0.9);
  });

  it('takes one class for all, and as many samples as there are classes', async () => {
    const sample = (options: Partial<SampleOptions>): Promise<Tensor> =>
      model
        .sample({ steps: 2, seed: 3, decode: false, capture: false, ...options })
        .then(({ latents }) => latents);
    const one = await sample({ count: 2, classifier: { model: classifier, classes: 1, scale: 4 } });
    const each = await sample({ classifier: { model: classifier, classes: [1, 1], scale: 4 } });
    expect([...(await one.data())]).toEqual([...(await each.data())]);
  });

  it('leaves the classifier as it was', async () => {
    classifier.train();
    await obeying({ ...led(1), steps: 1 });
    expect(classifier.training).toBe(true);
    expect(classifier.parameters().every((x) => x.requiresGrad && x.grad === null)).toBe(true);
  });

  it('is refused what does not fit', async () => {
    const sample = (classes: number | number[], scale = 1) =>
      model.sample({
        steps: 1,
        count: 2,
        seed: 1,
        classifier: { model: classifier, classes, scale },
      });
    await expect(sample([0, 1, 2])).rejects.toThrow('2 samples need as many classes');
    await expect(sample([0, 3])).rejects.toThrow(/more than 3 classes. .*\[2, 3\]/);
    await expect(sample(0.5)).rejects.toThrow('whole numbers from 0. Got 0.5');
    await expect(sample(0, NaN)).rejects.toThrow('scale must be a number');
    const predictsV = buildLatentDiffusion(plainSpec({ diffusion: { parameterization: 'v' } }));
    const refused = predictsV.sample({ seed: 1, classifier: { model: classifier, classes: 0 } });
    await expect(refused).rejects.toThrow('corrects a predicted ε, and this network predicts v');
    predictsV.dispose();
  });
});
