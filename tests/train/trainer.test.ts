// The trainer's arithmetic and manners: what a cycle does to the weights, what is skipped, seen and saved.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  defaultDevice,
  defaultGenerator,
  FileError,
  Linear,
  mseLoss,
  readImage,
  SGD,
  tensor,
  tidy,
  type Module,
  type Tensor,
} from '../../lib/index.js';
import { openRunFolder, Trainer, type TrainingTask } from '../../lib/train/index.js';
import type { DataSource } from '../../lib/data/source.js';
import { collectGarbage } from '../support/collect_garbage.js';
import { normals } from '../support/random.js';
import { newest, Notes, states, train } from './run.js';
import { TinyData, tinyTask, type TinyBatch, type TinyTask } from './tiny_task.js';

const root = mkdtempSync(join(tmpdir(), 'emulsion-trainer-'));
let folders = 0;
const folder = (): string => join(root, String(folders++));
afterAll(() => rmSync(root, { recursive: true }));

const values = (modules: Readonly<Record<string, Module>>): Promise<ArrayLike<number>[]> =>
  Promise.all(
    Object.values(modules).flatMap((module) =>
      [...module.stateDict().values()].map(async (x) => (await x.data()) as Float32Array),
    ),
  );
const averages = (task: TinyTask): Promise<ArrayLike<number>[]> =>
  tidy(() =>
    Promise.all(
      Object.values(task.ema.ema.stateDict()).map(async (x) => (await x.data()) as Float32Array),
    ),
  );

// The original's order of things, written out: per batch the generator, then the discriminator.
async function trainByHand(task: TinyTask, data: TinyData, cycles: number, k: number) {
  defaultGenerator.setState({ seed: 23, stream: 1, step: 0 });
  const batches = data.batches();
  for (let step = 0; step < cycles; ++step) {
    const taken = [];
    while (taken.length < k) taken.push((await batches.next()).value!);
    const images = taken.reduce((sum, { image }) => sum + image.shape[0], 0);
    if (step === 0)
      await task.beforeFirstStep!(taken[0], { step, micro: 0, accumulate: k, seed: 23 });
    taken.forEach((batch, micro) => {
      for (const phase of task.phases) {
        for (const module of Object.values(task.modules)) module.requiresGrad_(false);
        for (const x of phase.parameters) x.requiresGrad = true;
        tidy(() => {
          const context = { step, micro, accumulate: k, seed: 23 };
          phase
            .loss(batch, context)
            .loss.mul(batch.image.shape[0] / images)
            .backward();
        });
        if (micro < k - 1) continue;
        phase.optimizer.step();
        phase.optimizer.zeroGrad();
      }
      task.ema.ema.update();
    });
    for (const { schedule } of task.phases) schedule?.step();
  }
}

describe('a cycle', () => {
  it('trains as the original does: phases in turns, batch by batch, a step for each at the end', async () => {
    const [expected, actual] = [tinyTask(), tinyTask()];
    await trainByHand(expected, new TinyData([2, 1]), 5, 2);
    await train(folder(), { steps: 5, task: actual });
    expect(await values(actual.modules)).toEqual(await values(expected.modules));
    expect(await averages(actual)).toEqual(await averages(expected));
  });

  it('weighs batches by their images: many small ones train as one large one', async () => {
    const random = (...shape: number[]): Tensor => {
      const count = shape.reduce((a, b) => a * b);
      return tensor(Float32Array.from(normals(count, shape.join())), { shape });
    };
    const inputs = random(6, 3);
    const targets = random(6, 1);
    const train = async (sizes: readonly number[]): Promise<ArrayLike<number>[]> => {
      type Pair = [Tensor, Tensor];
      const cut = (x: Tensor): Tensor[] => x.split([...sizes]);
      const data: DataSource<Pair> = {
        batchesPerEpoch: sizes.length,
        async *batches() {
          for (;;) {
            const [xs, ys] = [cut(inputs), cut(targets)];
            for (const [i, x] of xs.entries()) yield [x, ys[i]];
          }
        },
        async *epoch() {},
      };
      const model = new Linear(3, 1);
      await tidy(async () => model.loadStateDict({ weight: random(1, 3), bias: random(1) }));
      const parameters = model.parameters();
      const optimizer = new SGD(parameters, { lr: 0.1 });
      const task: TrainingTask<Pair> = {
        name: 'line',
        modules: { model },
        phases: [
          {
            name: 'fit',
            optimizer,
            parameters,
            loss: ([x, y]) => ({ loss: mseLoss(model.forward(x), y), log: {} }),
          },
        ],
      };
      const options = { folder: await openRunFolder(folder()), steps: 3, accumulate: sizes.length };
      await new Trainer(task, data, options).run();
      return values({ model });
    };
    const whole = await train([6]);
    for (const sizes of [
      [2, 2, 2],
      [4, 2],
      [1, 3, 2],
    ]) {
      const parts = await train(sizes);
      parts.forEach((part, i) =>
        [...Array.from(part)].forEach((value, j) => expect(value).toBeCloseTo(whole[i][j], 5)),
      );
    }
  });

  it('needs no gradients of what a phase does not train, and puts flags back when it throws', async () => {
    const task = tinyTask();
    const { model, adversary } = task.modules;
    const seen: Record<string, boolean[]> = {};
    const flags = (): boolean[] =>
      [model, adversary].map((module) => module.parameters().every((x) => x.requiresGrad));
    const phases = task.phases.map((phase) => ({
      ...phase,
      loss: (...args: Parameters<typeof phase.loss>) => {
        seen[phase.name] = flags();
        if (args[1].step === 1 && phase.name === 'discriminator') throw new Error('of the loss');
        return phase.loss(...args);
      },
    }));
    const run = train(folder(), { steps: 2, task: { ...task, phases } });
    await expect(run).rejects.toThrow('of the loss');
    expect(seen).toEqual({ generator: [true, false], discriminator: [false, true] });
    expect(flags()).toEqual([true, true]);
    expect([...model.parameters(), ...adversary.parameters()].every((x) => !x.grad)).toBe(true);
  });

  it('clips the gradients of each phase', async () => {
    const task = tinyTask();
    const notes = new Notes();
    const norms: number[] = [];
    const step = task.phases[0].optimizer.step.bind(task.phases[0].optimizer);
    task.phases[0].optimizer.step = (options) => {
      const squares = task.phases[0].parameters.map(({ grad }) => grad!.square().sum().itemSync());
      norms.push(Math.sqrt(squares.reduce((a, b) => a + b)) * options!.gradScale!.itemSync());
      step(options);
    };
    await train(folder(), { steps: 3, task, clipNorm: 0.01, logEvery: 1, loggers: [notes] });
    for (const norm of norms) expect(norm).toBeCloseTo(0.01, 5);
    for (const { values } of notes.numbers)
      expect(values['grad_norm/generator']).toBeGreaterThan(0.1);
  });

  it.each(['bfloat16', 'float16'] as const)(
    'trains in %s, and goes on in it',
    async (precision) => {
      const [whole, parts] = [folder(), folder()];
      const notes = new Notes();
      const options = { precision, logEvery: 1 };
      await train(whole, { steps: 8, ...options, loggers: [notes] });
      await train(parts, { steps: 3, ...options });
      await train(parts, { steps: 8, resume: true, ...options });
      expect(newest(parts).equals(newest(whole))).toBe(true);
      expect('loss_scale' in notes.numbers[0].values).toBe(precision === 'float16');
      expect(notes.numbers.at(-1)!.values['train/rec_loss']).toBeGreaterThan(0);
    },
  );
});

describe('what is not finite', () => {
  it('is how float16 finds its loss scale: skipped and counted, but no failure', async () => {
    const task = tinyTask();
    const [generator, discriminator] = task.phases;
    const loud: typeof generator = {
      ...generator,
      loss: (...args) => {
        const { loss, log } = generator.loss(...args);
        return { loss: loss.mul(1e5), log };
      },
    };
    const notes = new Notes();
    const { skipped } = await train(folder(), {
      steps: 30,
      task: { ...task, phases: [loud, discriminator] },
      precision: 'float16',
      skipLimit: 1,
      loggers: [notes],
    });
    expect(skipped).toBeGreaterThan(2);
    expect(notes.texts).toEqual([]);
    const { values } = notes.numbers.at(-1)!;
    expect(values.loss_scale).toBe(65536 / 2 ** skipped);
    expect(values['grad_norm/generator']).toBeGreaterThan(0);
  });

  it('is skipped, counted and named, and leaves no trace', async () => {
    const path = folder();
    const notes = new Notes();
    // The second half of the third cycle.
    const data = new TinyData([2], [5]);
    const [before, after] = [tinyTask(), tinyTask()];
    await train(path, { steps: 2, task: before, data });
    const options = { steps: 3, resume: true, data, loggers: [notes] };
    const { skipped } = await train(path, { ...options, task: after });
    expect(skipped).toBe(2);
    expect(await values(after.modules)).toEqual(await values(before.modules));
    expect(notes.texts).toEqual([
      'left out the step of generator, for its loss is NaN; not finite: rec_loss, kl_loss, g_loss; ' +
        'discriminator, for its loss is NaN; not finite: logits_real, logits_fake (2 so far)',
    ]);
  });

  it('stops the run when there is no end of it, and what was saved stays good', async () => {
    const path = folder();
    const bad = Array.from({ length: 20 }, (_, i) => 8 + i);
    const run = train(path, {
      steps: 20,
      data: new TinyData([2], bad),
      skipLimit: 3,
      saveEvery: 2,
    });
    await expect(run).rejects.toMatchObject({ code: 'ERR_NOT_FINITE' });
    await expect(run).rejects.toThrow(/4 steps in a row.*generator, for its loss is NaN/);
    expect(states(path).at(-1)).toBe('step-00000006.safetensors');
    await train(path, { steps: 12, resume: true, data: new TinyData([2]), saveEvery: 2 });
  });
});

describe('a run', () => {
  it('goes on as if it had never stopped', async () => {
    const [whole, parts] = [folder(), folder()];
    await train(whole, { steps: 9 });
    await train(parts, { steps: 4 });
    const task = tinyTask();
    await train(parts, { steps: 9, resume: true, task });
    expect(newest(parts).equals(newest(whole))).toBe(true);
    expect(task.prepared).toBe(0);
  });

  it('finishes the step and saves when it is interrupted', async () => {
    const path = folder();
    const abort = new AbortController();
    const notes = new Notes((step) => step === 3 && abort.abort());
    const result = await train(path, { steps: 9, signal: abort.signal, loggers: [notes] });
    expect(result).toMatchObject({ step: 3, finished: false });
    expect(states(path)).toEqual(['step-00000003.safetensors']);
    expect(notes.closed).toBe(1);
  });

  it('loses no finished step to a batch that cannot be made, in training or in validation', async () => {
    class Torn extends TinyData {
      constructor(private readonly torn: number) {
        super([2, 1]);
      }

      protected override batch(number: number): TinyBatch {
        if (number === this.torn) throw new FileError('is torn.', 'picture.png');
        return super.batch(number);
      }
    }
    const [whole, parts, seen] = [folder(), folder(), folder()];
    const torn = train(parts, { steps: 6, data: new Torn(9) });
    await expect(torn).rejects.toThrow('picture.png: is torn.');
    expect(states(parts)).toEqual(['step-00000004.safetensors']);
    await train(parts, { steps: 6, resume: true });
    await train(whole, { steps: 6 });
    expect(newest(parts).equals(newest(whole))).toBe(true);
    const validated = train(seen, { steps: 6, validation: new Torn(1), validateEvery: 3 });
    await expect(validated).rejects.toThrow('picture.png: is torn.');
    expect(states(seen)).toEqual(['step-00000003.safetensors']);
  });

  it('saves nothing of a step that failed in its middle', async () => {
    const path = folder();
    const task = tinyTask();
    const [, discriminator] = task.phases;
    const { loss } = discriminator;
    discriminator.loss = (batch, context) => {
      if (context.step === 3) throw new Error('no memory');
      return loss.call(discriminator, batch, context);
    };
    await expect(train(path, { steps: 6, task, saveEvery: 2 })).rejects.toThrow('no memory');
    expect(states(path)).toEqual(['step-00000002.safetensors']);
  });

  it('looks at the model without a trace, with its weights and with their average', async () => {
    const [plain, watched] = [folder(), folder()];
    const notes = new Notes();
    const validation = new TinyData([2, 1, 2]);
    await train(plain, { steps: 4 });
    const task = tinyTask();
    await train(watched, {
      steps: 4,
      task,
      validation,
      validateEvery: 2,
      picturesEvery: 4,
      loggers: [notes],
    });
    expect(newest(watched).equals(newest(plain))).toBe(true);
    expect(task.modules.model.dropout.training).toBe(true);
    const found = notes.numbers.filter(({ values }) => 'val/rec_loss' in values);
    expect(found.map(({ step }) => step)).toEqual([2, 4]);
    for (const { values } of found) {
      expect(Object.keys(values)).toEqual(['val/rec_loss', 'val/rec_loss_ema']);
      expect(values['val/rec_loss_ema']).not.toBe(values['val/rec_loss']);
    }
    expect(Object.keys(notes.files).sort()).toEqual(
      ['train', 'val'].flatMap((split) => [`${split}/inputs`, `${split}/reconstructions`]),
    );
    const path = join(watched, 'images', 'val', 'reconstructions-00000004.png');
    expect(notes.files['val/reconstructions']).toBe(path);
    expect((await readImage(path)).shape).toEqual([4, 4, 3]);
  });

  it('holds no more tensors at its end than at its beginning', async () => {
    const counts: number[] = [];
    const notes = new Notes(() => counts.push(defaultDevice().memoryStats().tensors));
    const options = {
      validation: new TinyData(),
      validateEvery: 5,
      picturesEvery: 5,
      saveEvery: 5,
    };
    await collectGarbage();
    await train(folder(), { steps: 30, ...options, loggers: [notes] });
    expect(counts[29]).toBe(counts[9]);
  });

  it('says so when its data come to an end', async () => {
    const data = new TinyData();
    data.batches = data.epoch.bind(data);
    await expect(train(folder(), { steps: 2, data })).rejects.toThrow(
      /batches\(\) must be endless/,
    );
  });

  it('refuses options and phases that cannot be', async () => {
    const where = { folder: await openRunFolder(folder()) };
    const make = (options: object, task: TrainingTask<never> = tinyTask()) =>
      new Trainer(task, new TinyData() as DataSource<never>, { ...where, steps: 1, ...options });
    expect(() => make({ steps: 0 })).toThrow(/steps must be an integer of at least 1, got 0/);
    expect(() => make({ accumulate: 1.5 })).toThrow(/accumulate must be an integer/);
    expect(() => make({ precision: 'half' })).toThrow(/precision must be float32/);
    expect(() => make({ clipNorm: 0 })).toThrow(/clipNorm must be above 0/);
    const task = tinyTask();
    const [generator, discriminator] = task.phases;
    const same = { ...discriminator, optimizer: generator.optimizer };
    expect(() => make({}, { ...task, phases: [generator, same] })).toThrow(/they must be the same/);
    const shared = { ...same, parameters: generator.parameters };
    expect(() => make({}, { ...task, phases: [generator, shared] })).toThrow(
      /trained by both generator and discriminator/,
    );
    expect(() => make({}, { ...task, phases: [] })).toThrow(/at least one phase/);
    expect(existsSync(join(where.folder.path, 'metrics.jsonl'))).toBe(false);
  });
});
