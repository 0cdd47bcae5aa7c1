// States of a run on the disk: which stay, which are found again, which are refused.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors, zeros } from '../../lib/index.js';
import { Checkpoints } from '../../lib/train/checkpoint.js';
import { openRunFolder } from '../../lib/train/index.js';
import { newest, Notes, states, train, type TinyRun } from './run.js';
import { TinyData, tinyTask } from './tiny_task.js';

const root = mkdtempSync(join(tmpdir(), 'emulsion-states-'));
let folders = 0;
const folder = (): string => join(root, String(folders++));
afterAll(() => rmSync(root, { recursive: true }));

const name = (step: number): string => `step-${String(step).padStart(8, '0')}.safetensors`;
const stateOf = (path: string, step: number): string => join(path, 'checkpoints', name(step));

describe('states', () => {
  it('stay if they are the newest, or of a step to keep', async () => {
    const path = folder();
    await train(path, { steps: 11, saveEvery: 1, keepLast: 2, keepEvery: 4 });
    expect(states(path)).toEqual([4, 8, 10, 11].map(name));
  });

  describe('in which a monitored number was lowest', () => {
    // What validations find at steps 1, 2, ...
    const losses = [5, 2, 4, NaN, 1, 3, 6];
    const monitored = (path: string, options: Partial<TinyRun> = {}) => {
      const task = tinyTask();
      task.validate = (_data, { step }) => Promise.resolve({ rec_loss: losses[step - 1] });
      return train(path, {
        steps: losses.length,
        task,
        validation: new TinyData([2]),
        validateEvery: 1,
        monitor: 'val/rec_loss',
        keepBest: 2,
        keepLast: 1,
        ...options,
      });
    };
    const ranking = (path: string): unknown =>
      JSON.parse(readFileSync(join(path, 'checkpoints', 'best.json'), 'utf8'));

    it('stay beside the newest', async () => {
      const path = folder();
      await monitored(path);
      expect(states(path)).toEqual([2, 5, 7].map(name));
      expect(ranking(path)).toEqual([
        { step: 5, value: 1 },
        { step: 2, value: 2 },
      ]);
    });

    it('are remembered by a run that goes on', async () => {
      const path = folder();
      await monitored(path, { steps: 3 });
      expect(states(path)).toEqual([2, 3].map(name));
      await monitored(path, { resume: true });
      expect(states(path)).toEqual([2, 5, 7].map(name));
    });

    it('are not kept where validations do not give the number, which is said once', async () => {
      const path = folder();
      const notes = new Notes();
      await monitored(path, { monitor: 'val/loss', loggers: [notes] });
      expect(states(path)).toEqual([name(7)]);
      expect(notes.texts).toEqual([expect.stringContaining('no val/loss')]);
      expect(notes.texts[0]).toContain('they give val/rec_loss');
    });

    it('stay when the process is killed while a better one is saved', async () => {
      const path = folder();
      mkdirSync(path);
      const state = (broken = false) => ({
        tensors: new Map([
          [
            'w',
            { shape: [1], dtype: 'float32' as const, read: () => (broken ? kill() : zeros([1])) },
          ],
        ]),
        plain: {},
      });
      const kill = () => {
        throw new RangeError('killed');
      };
      const open = () => new Checkpoints(path, { last: 1, every: 0, best: 1 });
      const better = open();
      await better.save(1, state(), 3);
      await better.save(2, state());
      expect(await better.isAmongBest(3, 2)).toBe(true);
      await expect(better.save(3, state(true), 2)).rejects.toThrow('killed');
      const resumed = open();
      await resumed.save(4, state());
      expect(readdirSync(path)).toEqual(['best.json', ...[1, 4].map(name)]);
      // What was never saved is in nobody's way.
      expect(await resumed.isAmongBest(5, 2.5)).toBe(true);
      await resumed.save(5, state(), 2.5);
      expect(readdirSync(path)).toEqual(['best.json', name(5)]);
      expect(await resumed.best()).toEqual([{ step: 5, value: 2.5 }]);
    });

    it('are refused when their list was changed by others', async () => {
      const path = folder();
      await monitored(path, { steps: 2 });
      writeFileSync(join(path, 'checkpoints', 'best.json'), '[{"step": "2"}]');
      await expect(monitored(path, { resume: true })).rejects.toThrow(
        /best\.json: is no list of steps and values/,
      );
    });
  });

  it('are saved early when enough time has passed', async () => {
    const path = folder();
    await train(path, { steps: 3, secondsBetweenSaves: 1e-9 });
    expect(states(path)).toEqual([1, 2, 3].map(name));
  });

  it('hold the weights under the original names, in the layout of files', async () => {
    const path = folder();
    await train(path, { steps: 1 });
    const file = await readSafetensors(stateOf(path, 1));
    expect(file.info('modules.model.encoder.weight').shape).toEqual([8, 3, 3, 3]); // OIHW
    expect(file.has('ema.encoderweight')).toBe(true);
    expect(file.has('optimizers.discriminator.exp_avg_sq.0')).toBe(true);
  });

  it('that a kill left unfinished are removed', async () => {
    const path = folder();
    await train(path, { steps: 1 });
    writeFileSync(join(path, 'checkpoints', `.${name(2)}.123.0123abcd.tmp`), 'half of it');
    await train(path, { steps: 2, resume: true });
    expect(readdirSync(join(path, 'checkpoints')).sort()).toEqual([1, 2].map(name));
  });

  const damages: Record<string, (path: string) => void> = {
    'cut off': (path) => truncateSync(path, 2000),
    empty: (path) => truncateSync(path, 0),
    'no safetensors': (path) => writeFileSync(path, 'something else altogether'),
    'of one wrong bit': (path) => {
      const bytes = readFileSync(path);
      bytes[bytes.length - 100] ^= 1;
      writeFileSync(path, bytes);
    },
  };
  it.each(Object.keys(damages))(
    'that are damaged are passed over, with a warning: %s',
    async (kind) => {
      const [whole, path] = [folder(), folder()];
      const options = { saveEvery: 2 };
      await train(whole, { steps: 7, ...options });
      await train(path, { steps: 6, ...options });
      damages[kind](stateOf(path, 6));
      const notes = new Notes();
      await train(path, { steps: 5, resume: true, ...options, loggers: [notes] });
      expect(notes.steps).toEqual([5]);
      expect(notes.texts).toHaveLength(1);
      expect(notes.texts[0]).toContain(stateOf(path, 6));
      expect(notes.texts[0]).toContain(`Going on from ${name(4)} instead`);
      // The damaged one would count as newest, and in the end as one of those that stay.
      expect(states(path)).toContain(`${name(6)}.damaged`);
      await train(path, { steps: 7, resume: true, ...options });
      expect(newest(path).equals(newest(whole))).toBe(true);
    },
  );

  it('that are damaged one and all end the run', async () => {
    const path = folder();
    await train(path, { steps: 2, saveEvery: 1 });
    for (const step of [1, 2]) truncateSync(stateOf(path, step), 10);
    const run = train(path, { steps: 3, resume: true });
    await expect(run).rejects.toThrow(/no state is whole.*step-00000002.*step-00000001/);
    expect(states(path)).toEqual([1, 2].map(name));
  });

  it('are written again over a damaged one of the same step', async () => {
    const path = folder();
    await train(path, { steps: 4, saveEvery: 2 });
    truncateSync(stateOf(path, 4), 100);
    await train(path, { steps: 4, saveEvery: 2, resume: true });
    expect(states(path)).toEqual([2, 4].map(name));
    await train(path, { steps: 5, resume: true });
  });
});

describe('a state of another training', () => {
  it('is refused with everything that differs, before anything is changed', async () => {
    const path = folder();
    const config = (width: number, rate: number) => ({ model: { width, depth: 2 }, rate });
    await train(path, { steps: 2, task: tinyTask(config(64, 0.1)) });
    const task = tinyTask(config(128, 0.2));
    const weight = task.modules.model.encoder.weight;
    const before = await weight.data();
    const run = train(path, { steps: 3, resume: true, task, seed: 7, accumulate: 1 });
    await expect(run).rejects.toThrow('is a state of another training');
    for (const line of [
      'config.model.width: 64 in the state, 128 here',
      'config.rate: 0.1 in the state, 0.2 here',
      'seed: 23 in the state, 7 here',
      'accumulate: 2 in the state, 1 here',
    ])
      await expect(run).rejects.toThrow(line);
    await expect(run).rejects.not.toThrow('depth');
    expect(await weight.data()).toEqual(before);
    expect(states(path)).toEqual([name(2)]);
  });

  it('is refused for tensors that do not fit, each named', async () => {
    const path = folder();
    await train(path, { steps: 1 });
    const task = tinyTask();
    const { model, adversary } = task.modules;
    const run = train(path, {
      steps: 2,
      resume: true,
      task: {
        ...task,
        modules: { ...task.modules, model: adversary as never, adversary: model as never },
      },
    });
    await expect(run).rejects.toThrow('modules.model.main.0.weight: nothing in the state');
    await expect(run).rejects.toThrow(
      /modules\.model\.encoder\.weight: \[8, 3, 3, 3\] in the state/,
    );
  });

  it('is refused when an optimizer is of another kind', async () => {
    const path = folder();
    await train(path, { steps: 1 });
    const task = tinyTask();
    const [generator, discriminator] = task.phases;
    Object.assign(generator.optimizer.groups[0], { momentum: 0.9 });
    const run = train(path, {
      steps: 2,
      resume: true,
      task: { ...task, phases: [generator, discriminator] },
    });
    await expect(run).rejects.toThrow(
      'optimizer of generator: of other parameters or another kind',
    );
  });

  it('of no training at all is refused as damaged', async () => {
    const path = folder();
    await openRunFolder(path);
    await writeSafetensors(stateOf(path, 5), {});
    await expect(train(path, { steps: 6, resume: true })).rejects.toThrow(
      /holds no state of a training/,
    );
  });
});

describe('the folder of a run', () => {
  it('is never used twice by accident', async () => {
    const path = folder();
    await train(path, { steps: 1 });
    await expect(openRunFolder(path)).rejects.toThrow(/in use.*--resume.*another folder/s);
    expect(states(path)).toEqual([name(1)]);
  });

  it('must hold a run to go on with', async () => {
    const path = folder();
    await expect(openRunFolder(path, { resume: true })).rejects.toThrow(/no run to go on with/);
    const other = folder();
    writeFileSync(other, 'a file');
    await expect(openRunFolder(other)).rejects.toThrow(other);
    await expect(openRunFolder(other, { resume: true })).rejects.toThrow(/no run to go on with/);
  });

  it('starts from the beginning when nothing was saved before the kill', async () => {
    const [path, whole] = [folder(), folder()];
    await openRunFolder(path);
    const notes = new Notes();
    await train(path, { steps: 2, resume: true, loggers: [notes] });
    expect(notes.texts).toEqual(['no state was saved yet: starting from the beginning']);
    await train(whole, { steps: 2 });
    expect(newest(path).equals(newest(whole))).toBe(true);
  });

  it('can be moved', async () => {
    const [path, moved] = [folder(), folder()];
    await train(path, { steps: 2 });
    await openRunFolder(moved);
    copyFileSync(stateOf(path, 2), stateOf(moved, 2));
    expect(await train(moved, { steps: 3, resume: true })).toMatchObject({ step: 3 });
  });
});
