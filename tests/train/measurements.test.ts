// What a log tells of the steps between its lines, and of epochs, interrupted or not.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Measurements } from '../../lib/train/measurements.js';
import { temporaryFolder } from '../io/temporary.js';
import { Notes, train } from './run.js';
import { TinyData, type TinyBatch } from './tiny_task.js';

const inFolder = temporaryFolder();
let count = 0;
const folder = () => inFolder(`run-${count++}`);

// Cycles of two batches of 2 images and 1; three cycles and a half are an epoch.
const data = () => new TinyData([2, 1, 2, 1, 2, 1, 2]);
const images = [3, 3, 3, 4, 3, 3, 3, 3];

async function logged(options: { steps: number; logEvery: number }) {
  const notes = new Notes();
  await train(folder(), { ...options, data: data(), loggers: [notes] });
  return notes.numbers;
}

const mean = (values: readonly number[], weights: readonly number[]): number => {
  const all = weights.reduce((a, b) => a + b);
  return values.reduce((sum, value, i) => sum + value * weights[i], 0) / all;
};

describe('a line of the log', () => {
  it('holds the means of the steps since the last one, weighed by images', async () => {
    const each = await logged({ steps: 8, logEvery: 1 });
    const few = await logged({ steps: 8, logEvery: 3 });
    expect(few.map(({ step }) => step)).toEqual([3, 6, 8]);
    for (const name of ['train/generator_loss', 'train/kl_loss', 'grad_norm/discriminator']) {
      const values = each.map((line) => line.values[name]);
      for (const [i, [from, to]] of [
        [0, 3],
        [3, 6],
        [6, 8],
      ].entries())
        expect(few[i].values[name], name).toBeCloseTo(
          mean(values.slice(from, to), images.slice(from, to)),
          12,
        );
    }
    // rates and counters are those of the line's step
    expect(few[1].values['lr/generator']).toBe(each[5].values['lr/generator']);
    expect(few.map(({ values }) => values.global_step)).toEqual([3, 6, 8]);
  });

  it('and those of an epoch that ended meanwhile', async () => {
    const each = await logged({ steps: 8, logEvery: 1 });
    const few = await logged({ steps: 8, logEvery: 5 });
    // batches 0 to 6, 7 to 13, 14 and 15: the last batch of a step tells its epoch
    expect(each.map(({ values }) => values.epoch)).toEqual([0, 0, 0, 1, 1, 1, 1, 2]);
    const name = 'train/rec_loss';
    const values = each.map((line) => line.values[name]);
    const told = each.map((line) => line.values[`${name}_epoch`]);
    expect(told.map((value) => value !== undefined)).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((step) => step === 4 || step === 7),
    );
    expect(told[3]).toBeCloseTo(mean(values.slice(0, 4), images.slice(0, 4)), 12);
    expect(told[6]).toBeCloseTo(mean(values.slice(4, 7), images.slice(4, 7)), 12);
    expect(few.map((line) => line.values[`${name}_epoch`])).toEqual([told[3], told[6]]);
    expect(few[0].values).not.toHaveProperty('grad_norm/generator_epoch');
  });

  const lines = (path: string) =>
    readFileSync(join(path, 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => {
        const {
          seconds: _,
          images_per_second: __,
          ...rest
        } = JSON.parse(line) as object & {
          seconds: number;
          images_per_second: number;
        };
        return rest;
      });

  it('is the same when the run was interrupted between two of them', async () => {
    const [whole, parts] = [folder(), folder()];
    const options = { steps: 8, logEvery: 4, data: data() };
    await train(whole, options);
    const stop = new AbortController();
    const interrupt = new Notes((step) => step === 2 && stop.abort());
    await train(parts, { ...options, signal: stop.signal, loggers: [interrupt] });
    await train(parts, { ...options, resume: true });
    expect(lines(parts)).toEqual(lines(whole));
  });

  it('is the same when it was interrupted in a validation, which is made up for', async () => {
    const stop = new AbortController();
    class Interrupting extends TinyData {
      protected override batch(number: number): TinyBatch {
        stop.abort();
        return super.batch(number);
      }
    }
    const [whole, parts] = [folder(), folder()];
    const options = { steps: 4, logEvery: 1, data: data(), validateEvery: 2 };
    const validation = new TinyData([2, 1]);
    await train(whole, { ...options, validation });
    const interrupted = new Interrupting([2, 1]);
    await train(parts, { ...options, validation: interrupted, signal: stop.signal });
    expect(lines(parts)).toEqual(lines(whole).slice(0, 2));
    for (const _ of ['the rest', 'nothing'])
      await train(parts, { ...options, validation, resume: true });
    expect(lines(parts)).toEqual(lines(whole));
  });
});

describe('means', () => {
  it('leave out what is not finite, and are NaN where nothing is', () => {
    const measured = new Measurements();
    measured.add({ 'train/a': 1, 'train/b': NaN }, 2);
    measured.add({ 'train/a': Infinity, 'train/b': NaN }, 1);
    measured.add({ 'train/a': 4, 'train/b': NaN }, 1);
    const saved = JSON.parse(JSON.stringify(measured.state())) as unknown;
    const again = new Measurements();
    again.load(saved);
    for (const each of [measured, again])
      expect(each.take()).toEqual({ 'train/a': 2, 'train/b': NaN });
  });

  it('begin anew with a state that has none, or another', () => {
    for (const state of [undefined, 5, { recent: { 'train/a': 'x' }, epoch: [1] }]) {
      const measured = new Measurements();
      measured.load(state);
      measured.add({ 'train/a': 3 }, 1);
      expect(measured.take()['train/a']).toBe(3);
    }
  });
});
