// The study of how far to compress: diffusion for equal compute on pixels and on latents of every downsampling
// factor, as in figures 6 and 7 of the paper. Started again after an interruption it goes on where it was.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import {
  defaultDevice,
  makeGrid,
  tidy,
  writeFileAtomic,
  writeImage,
  type FirstStage,
  type LatentDiffusion,
  type ThroughputFile,
} from '../../../lib/index.js';
import type { EmojiSet } from '../../demo/emoji.js';
import { loadPictures } from '../first_stage/pictures.js';
import { freshModel, train as trainFirstStage, zooBudget } from '../first_stage/train.js';
import { family, stepsFor, type Member } from './family.js';
import { Judge, type Sampled } from './quality.js';
import { page, writeMeasurements, writePlots, type Row } from './report.js';
import { trainInLegs } from './train.js';

const options = new Command('study:tradeoff')
  .description(
    'Train diffusion for equal compute on pixels and latents of emoji, and compare them.',
  )
  .option('--quick', 'a check that everything runs: few steps on few pictures')
  .option('--first-stages <folder>', 'of the study of first stages', 'out/study/first-stage')
  .option('--out <folder>', 'where everything is written', 'out/study/tradeoff')
  .parse()
  .opts<{ quick?: boolean; firstStages: string; out: string }>();

const seed = 0;
/** Multiply-adds of each training, forward and backward. */
const budget = options.quick ? 5e10 : 2e12;
/** Shares of it after which a model is looked at. */
const shares = [1 / 8, 1 / 4, 1 / 2, 1];
const samplingSteps = options.quick ? [2, 4] : [10, 20, 50, 100, 200];
/** With which a training's progress is followed. */
const followed = options.quick ? 2 : 20;
/** Fewer than there are features: distances are larger than of many samples, alike for all models. */
const samples = options.quick ? 16 : 64;

const out = resolve(options.out, options.quick ? 'quick' : '.');
const firstStages = options.quick ? out : resolve(options.firstStages);
mkdirSync(join(out, 'measured'), { recursive: true });
const interrupt = new AbortController();
const { signal } = interrupt;
process.once('SIGINT', () => interrupt.abort());
process.once('SIGTERM', () => interrupt.abort());

const fileOf = (name: string): string => join(out, 'measured', `${name}.json`);

/** A measurement by its name, made once. */
async function once<T>(name: string, measure: () => Promise<T>): Promise<T> {
  const path = fileOf(name);
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as T;
  const value = await measure();
  await writeFileAtomic(path, `${JSON.stringify(value)}\n`);
  return value;
}

async function main(): Promise<void> {
  const { training, heldOut } = await loadPictures(options.quick ? 200 : undefined);
  const judge = await Judge.open(training);
  const floor = await judge.distanceOf(heldOut);
  const rows: Row[] = [];
  const files: ThroughputFile[] = [];
  for (const member of family) {
    const row = await measured(member, training, judge);
    rows.push(row);
    files.push(await writeMeasurements(out, row));
    const best = Math.min(...row.sampled.map(({ distance }) => distance));
    console.log(`f = ${member.f}: Fréchet distance ${best.toFixed(2)} at best`);
  }
  await writePlots(out, rows, files);
  const settings =
    `Device: ${defaultDevice().name}. Seed ${seed}. Each training takes ${budget.toExponential(1)} multiply-adds, ` +
    `and each distance ${samples} samples.`;
  await writeFileAtomic(join(out, 'index.md'), `${page(rows, floor, settings)}\n`);
  console.log(`\nlook at ${join(out, 'index.md')}`);
}

/** Trains a model as far as there is still something to measure. */
async function measured(member: Member, training: EmojiSet, judge: Judge): Promise<Row> {
  const name = `f${member.f}`;
  const total = stepsFor(member, budget);
  const ends = shares.map((share) => Math.max(1, Math.round(share * total)));
  const at = (steps: number) => `${name}-after-${steps}`;
  const by = (steps: number) => `${name}-ddim-${steps}`;
  const grid = join(out, `samples-${name}.png`);
  // The name of what is made last at the end of a leg stands for all that is made there.
  const isWanted = (steps: number) =>
    !existsSync(fileOf(at(steps))) || (steps === total && !existsSync(fileOf(name)));
  if (ends.some(isWanted)) {
    const firstStage = await firstStageOf(member, training);
    await trainInLegs({
      folder: out,
      member,
      firstStage,
      pictures: training,
      ends,
      seed,
      signal,
      isWanted,
      async look(model, steps) {
        await once(at(steps), () => judge.sample(model, followed, samples, signal));
        if (steps < total) return;
        for (const count of samplingSteps)
          await once(by(count), () => judge.sample(model, count, samples, signal));
        await writeSamples(grid, model);
        const parameters = model.model.parameterCount();
        await once(name, () => Promise.resolve({ parameters }));
      },
    });
    firstStage?.dispose();
  }
  const read = <T>(what: string) => JSON.parse(readFileSync(fileOf(what), 'utf8')) as T;
  return {
    member,
    parameters: read<{ parameters: number }>(name).parameters,
    progress: ends.map((steps) => ({ steps, distance: read<Sampled>(at(steps)).distance })),
    sampled: samplingSteps.map((steps) => ({ steps, ...read<Sampled>(by(steps)) })),
  };
}

/** That of the other study where it was made, else trained as there. */
async function firstStageOf(
  { firstStage }: Member,
  pictures: EmojiSet,
): Promise<FirstStage | null> {
  if (!firstStage) return null;
  return trainFirstStage({
    name: firstStage.name,
    folder: firstStages,
    pictures,
    budget: options.quick ? { ...zooBudget, steps: 20, batch: 4 } : zooBudget,
    signal,
    model: freshModel(firstStage.spec, zooBudget.seed),
  });
}

async function writeSamples(path: string, model: LatentDiffusion): Promise<void> {
  await tidy(async () => {
    const count = Math.min(16, samples);
    const seeds = Array.from({ length: count }, (_, i) => i);
    const steps = samplingSteps[samplingSteps.length >> 1];
    const { images } = await model.sample({ steps, seed: seeds, signal });
    await writeImage(path, await makeGrid(images!.clamp(-1, 1), { nrow: 8, padValue: 1 }));
  });
}

try {
  await main();
} catch (error) {
  if (!signal.aborted) throw error;
  console.log('interrupted; the same command goes on from here');
  process.exitCode = 130;
}
