// Losses that are recorded once and replayed train the same weights, to the bit, as losses that are computed in
// every step; and what cannot be recorded is not.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  AutoencoderKL,
  device,
  EmulsionError,
  EncoderUNetModel,
  firstStageTask,
  latentDiffusionTask,
  Linear,
  LPIPSWithDiscriminator,
  manualSeed,
  mseLoss,
  noise,
  noisyClassifierConfig,
  noisyClassifierTask,
  openRunFolder,
  RecordableLoss,
  setDefaultDevice,
  SGD,
  tensor,
  tidy,
  Trainer,
  TrainingCycle,
  VQLPIPSWithDiscriminator,
  VQModel,
  type FirstStageConfig,
  type ImageBatch,
  type LatentDiffusionSpec,
  type PhaseReport,
  type Tensor,
  type TrainingCycleOptions,
  type TrainingTask,
} from '../../lib/index.js';
import { addon } from '../../lib/native.js';
import { LossRecorder } from '../../lib/train/loss_recorder.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, tinySpec } from '../ldm/tiny_diffusion.js';
import { availableDevices } from '../support/devices.js';
import { makeModel, Pictures } from './noise_pictures.js';

const file = temporaryFolder();

const { ddconfig } = tinySpec().firstStage as { ddconfig: FirstStageConfig };
// The discriminator begins while the steps run.
const adversarial = { discStart: 3, discNdf: 4, discNumLayers: 2, perceptualWeight: 0 };

const spatial = (changed: Partial<LatentDiffusionSpec>): LatentDiffusionSpec => {
  const spec = plainSpec(changed);
  return { ...spec, unet: { ...spec.unet, inChannels: 6 }, conditioningKey: 'concat' };
};

/** Makes a task with the same weights every time. */
type Make = () => TrainingTask<ImageBatch>;

const tasks: Record<string, Make> = {
  'classes that are trained along, some dropped': () =>
    latentDiffusionTask({
      model: makeModel(),
      learningRate: 1e-2,
      unconditionalProbability: 0.3,
      offsetNoise: 0.1,
    }),
  'classes that are not trained': () =>
    latentDiffusionTask({
      model: makeModel({ conditionerTrainable: false }),
      learningRate: 1e-2,
      unconditionalProbability: 0.3,
    }),
  'maps, and a learned variance': () =>
    latentDiffusionTask({
      model: makeModel(
        spatial({
          conditioner: { kind: 'identity' },
          conditionerTrainable: false,
          diffusion: { linearStart: 0.0015, linearEnd: 0.0195, learnLogvar: true },
        }),
      ),
      learningRate: 1e-2,
      read: ({ image, index }) => ({
        images: image,
        condition: noise([image.shape[0], 8, 8, 3], { seed: index[0], device: image.device }),
      }),
    }),
  'an autoencoder and its discriminator': () => {
    manualSeed(1);
    return firstStageTask({
      model: new AutoencoderKL({ ddconfig, embedDim: 2 }),
      loss: new LPIPSWithDiscriminator({ ...adversarial, klWeight: 1e-6 }),
      learningRate: 1e-3,
    });
  },
  'a codebook that follows its vectors': () => {
    manualSeed(1);
    const model = new VQModel({
      ddconfig: { ...ddconfig, doubleZ: false },
      embedDim: 2,
      nEmbed: 32,
      codebookEma: {},
    });
    const loss = new VQLPIPSWithDiscriminator({ ...adversarial, nClasses: 32 });
    return firstStageTask({ model, loss, learningRate: 1e-3 });
  },
  'a classifier of noisy latents': () => {
    const model = makeModel();
    const classifier = new EncoderUNetModel(noisyClassifierConfig(model.spec, 4, 'adaptive'));
    return noisyClassifierTask({ model, classifier, learningRate: 1e-2 });
  },
};

const cycleOptions: TrainingCycleOptions = {
  seed: 3,
  accumulate: 1,
  precision: 'float32',
  clipNorm: 1,
};
/** Each kind of step, without and with a discriminator, is computed, recorded and replayed. */
const steps = 6;

interface Trained {
  reports: PhaseReport[][];
  weights: ArrayLike<number | bigint>[];
  /** Times that the first phase's loss was computed in JavaScript. */
  computed: number;
}

/** Trains a few steps, and frees everything. */
async function train(
  make: Make,
  options: Partial<TrainingCycleOptions>,
  data = new Pictures(),
): Promise<Trained> {
  return tidy(async () => {
    const task = make();
    const [{ loss: original }] = task.phases;
    let computed = 0;
    const counted = (...args: Parameters<typeof original>) => {
      const given = original(...args);
      if (!(given instanceof RecordableLoss)) return (++computed, given);
      const compute = (inputs: readonly Tensor[]) => (++computed, given.compute(inputs));
      return new RecordableLoss(given.inputs, compute, given.key);
    };
    const phases = task.phases.map((phase, i) => (i === 0 ? { ...phase, loss: counted } : phase));
    const cycle = new TrainingCycle({ ...task, phases }, { ...cycleOptions, ...options });
    const batches = data.batches();
    const reports: PhaseReport[][] = [];
    for (let step = 0; step < steps; ++step) {
      const taken: ImageBatch[] = [];
      while (taken.length < (options.accumulate ?? 1)) taken.push((await batches.next()).value!);
      reports.push(await cycle.run(taken, step));
    }
    const weights = await Promise.all(
      Object.values(task.modules)
        .flatMap((module) => [...module.stateDict().values()])
        .map(async (x) => (await x.data()) as ArrayLike<number>),
    );
    cycle.dispose();
    for (const { optimizer } of phases) optimizer.dispose();
    task.ema?.ema.dispose();
    for (const module of Object.values(task.modules)) module.dispose();
    return { reports, weights, computed };
  });
}

for (const device of availableDevices)
  describe(`on ${device}`, () => {
    const records = addon.records(device.index);
    const plain = { capture: false };
    let before = 0;
    const graphBytes = (): number => device.memoryStats().graphBytes;
    beforeEach(() => {
      setDefaultDevice(device);
      before = graphBytes();
    });
    afterEach(() => expect(graphBytes()).toBe(before));

    it.each(Object.entries(tasks))('%s', async (_, make) => {
      const [expected, recorded] = [await train(make, plain), await train(make, {})];
      expect(recorded.reports).toEqual(expected.reports);
      expect(recorded.weights).toEqual(expected.weights);
      expect(expected.computed).toBe(steps);
      // Once as it is and once for the recording, of each kind: with and without a discriminator.
      const kinds = make === tasks['an autoencoder and its discriminator'] ? 2 : 1;
      const turns = make === tasks['a codebook that follows its vectors'] ? 2 : kinds;
      expect(recorded.computed).toBe(records ? 2 * turns : steps);
      expect(expected.reports.every((each) => each.every(({ skipped }) => !skipped))).toBe(true);
    });

    it.each(['bfloat16', 'float16'] as const)('in %s', async (precision) => {
      const make = tasks['classes that are trained along, some dropped'];
      const expected = await train(make, { precision, ...plain });
      expect(await train(make, { precision })).toEqual({
        ...expected,
        computed: records ? 2 : steps,
      });
    });

    it('cycles of several batches are not recorded', async () => {
      const make = tasks['classes that are trained along, some dropped'];
      const { computed } = await train(make, { accumulate: 2 });
      expect(computed).toBe(2 * steps);
    });

    it('what draws random numbers is not recorded, and draws the same', async () => {
      const { unet } = tinySpec();
      const model = () => makeModel({ unet: { ...unet, dropout: 0.2 } });
      const make = () => latentDiffusionTask({ model: model(), learningRate: 1e-2 });
      const expected = await train(make, plain);
      const tried = await train(make, {});
      expect(tried.weights).toEqual(expected.weights);
      expect(tried.computed).toBe(steps + (records ? 1 : 0));
    });

    it('batches of another size begin anew', async () => {
      class Uneven extends Pictures {
        protected override batch(number: number): ImageBatch {
          const whole = super.batch(number);
          if (number !== 2) return whole;
          const first = (list: readonly unknown[]) => list.slice(0, 1);
          const { image, index, path, label } = whole;
          const smaller = { index: first(index), path: first(path), label: first(label!) };
          return { image: image.slice([[0, 1]]), ...smaller } as ImageBatch;
        }
      }
      const make = tasks['classes that are trained along, some dropped'];
      const expected = await train(make, plain, new Uneven());
      const recorded = await train(make, {}, new Uneven());
      expect(recorded.reports).toEqual(expected.reports);
      expect(recorded.weights).toEqual(expected.weights);
      // Steps 0 and 1, the small batch, and two after it.
      expect(recorded.computed).toBe(records ? 5 : steps);
    });

    it('what is not finite is left out, and leaves no trace', async () => {
      class Bad extends Pictures {
        protected override batch(number: number): ImageBatch {
          const batch = super.batch(number);
          return number === 3 ? { ...batch, image: batch.image.mul(NaN) } : batch;
        }
      }
      const make = tasks['an autoencoder and its discriminator'];
      const expected = await train(make, plain, new Bad());
      const recorded = await train(make, {}, new Bad());
      expect(recorded.reports[3].map(({ skipped }) => skipped)).toEqual(
        expected.reports[3].map(({ skipped }) => skipped),
      );
      expect(recorded.reports[3].every(({ skipped }) => skipped?.includes('NaN'))).toBe(true);
      expect(recorded.weights).toEqual(expected.weights);
    });

    it('a recording makes room for validations and pictures', async () => {
      const seen: number[] = [];
      const task = tasks['classes that are trained along, some dropped']();
      const validate = task.validate!.bind(task);
      const looking = vi.fn((...args: Parameters<typeof validate>) => {
        seen.push(graphBytes());
        return validate(...args);
      });
      task.validate = looking;
      const during: number[] = [];
      const trainer = new Trainer(task, new Pictures(), {
        folder: await openRunFolder(file('run')),
        steps: 6,
        validation: new Pictures(1),
        validateEvery: 3,
        picturesEvery: 0,
        loggers: [{ step: () => during.push(graphBytes()), scalars: () => {}, close: () => {} }],
      });
      await trainer.run();
      expect(seen).toEqual(Array(4).fill(before));
      expect(during[2] > before).toBe(records);
    });
  });

describe('a recordable loss', () => {
  it('computes its terms once, when they are read', () => {
    tidy(() => {
      const model = new Linear(2, 1);
      const compute = vi.fn(([x]: readonly Tensor[]) => {
        const loss = mseLoss(model.forward(x), x.select(1, 0).reshape([-1, 1]));
        return { loss, log: { loss } };
      });
      const given = new RecordableLoss([noise([3, 2], { seed: 1 })], compute);
      expect(given.key).toBe('');
      expect(compute).not.toHaveBeenCalled();
      expect(given.loss).toBe(given.log.loss);
      expect(compute).toHaveBeenCalledTimes(1);
      model.dispose();
    });
  });

  it('needs inputs without history, and its other errors are its own', async () => {
    const model = new Linear(2, 1);
    const parameters = model.parameters();
    const run = (loss: () => RecordableLoss) =>
      tidy(() =>
        new TrainingCycle<Tensor>(
          {
            name: 'line',
            modules: { model },
            phases: [
              { name: 'fit', optimizer: new SGD(parameters, { lr: 0.1 }), parameters, loss },
            ],
          },
          cycleOptions,
        ).run([noise([3, 2], { seed: 1 })], 0),
      );
    await expect(
      run(() => new RecordableLoss([model.weight], () => ({ loss: model.weight.sum(), log: {} }))),
    ).rejects.toThrow('input 0 requires a gradient; inputs are data: detach() it');
    await expect(
      run(
        () =>
          new RecordableLoss([], () => {
            throw new Error('of the loss');
          }),
      ),
    ).rejects.toThrow('of the loss');
    model.dispose();
  });

  it('is computed in turn where memory is too short to record it', () => {
    const recorder = new LossRecorder<Tensor>();
    let calls = 0;
    const step = (value: number): number =>
      tidy(() => {
        const given = new RecordableLoss([tensor(value)], ([x]) => {
          // the second call is the one that is recorded
          if (++calls === 2) throw new EmulsionError('no memory', 'ERR_OUT_OF_MEMORY');
          return { loss: x.mul(2), log: {} };
        });
        return recorder.run('fit', given, (compute) => compute().loss.alias()).itemSync();
      });
    expect([1, 2, 3].map(step)).toEqual([2, 4, 6]);
    expect(calls).toBe(addon.records(device('cpu').index) ? 4 : 3);
    recorder.release();
  });
});
