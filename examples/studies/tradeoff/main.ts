// The study of how far to compress: diffusion for equal compute on pixels and on latents of every downsampling
// factor, as in figures 6 and 7 of the paper. Started again after an interruption it goes on where it was.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import {
  loadLatentDiffusion,
  makeGrid,
  tidy,
  writeFileAtomic,
  writeImage,
  type FirstStage,
  type LatentDiffusion,
} from '../../../lib/index.js';
import type { EmojiSet } from '../../demo/emoji.js';
import { loadPictures } from '../first_stage/pictures.js';
import { freshModel, train as trainFirstStage, zooBudget } from '../first_stage/train.js';
import { family, nameOf, stepsFor, type Member } from './family.js';
import { Judge } from './quality.js';
import { page, writeMeasurements, writePlots, type Measured, type Row } from './report.js';
import { measureSpeeds } from './speeds.js';
import { trainInLegs } from './train.js';

const options = new Command('study:tradeoff')
  .description(
    'Train diffusion for equal compute on pixels and latents of emoji, and compare them.',
  )
  .option('--quick', 'a check that everything runs: few steps on few pictures')
  .option('--speeds', 'measure samples per second anew, of the models that are there')
  .option('--first-stages <folder>', 'of the study of first stages', 'out/study/first-stage')
  .option('--out <folder>', 'where everything is written', 'out/study/tradeoff')
  .parse()
  .opts<{ quick?: boolean; speeds?: boolean; firstStages: string; out: string }>();

const seed = 0;
/** Multiply-adds of each training, forward and backward. */
const budget = options.quick ? 5e10 : 5e12;
/** Shares of it after which a model is looked at. */
const shares = [1 / 8, 1 / 4, 1 / 2, 1];
const samplingSteps = options.quick ? [2, 4] : [10, 20, 50, 100, 200];
/** Of these, that with which a training's progress is followed. */
const followed = samplingSteps[0];
/** Distances are larger than of more samples, alike for all models. */
const samples = options.quick ? 16 : 96;
/** Of the speeds, of which medians are taken. */
const rounds = options.quick ? 1 : 3;

const out = resolve(options.out, options.quick ? 'quick' : '.');
const firstStages = options.quick ? out : resolve(options.firstStages);
mkdirSync(join(out, 'measured'), { recursive: true });
const interrupt = new AbortController();
const { signal } = interrupt;
process.once('SIGINT', () => interrupt.abort());
process.once('SIGTERM', () => interrupt.abort());

const fileOf = (name: string): string => join(out, 'measured', `${name}.json`);
const folderOf = (member: Member): string => join(out, 'models', nameOf(member));

/** A measurement by its name, made once. */
async function once<T>(name: string, measure: () => Promise<T>): Promise<T> {
  if (!existsSync(fileOf(name)))
    await writeFileAtomic(fileOf(name), `${JSON.stringify(await measure())}\n`);
  return read<T>(name);
}

const read = <T>(name: string): T => JSON.parse(readFileSync(fileOf(name), 'utf8')) as T;

async function main(): Promise<void> {
  const { training, heldOut } = await loadPictures(options.quick ? 200 : undefined);
  const judge = new Judge(training);
  const rows: Row[] = [];
  for (const member of family) {
    const progress = await trained(member, training, judge);
    const sampled = await judged(member, judge);
    const best = Math.min(...sampled.map(({ distance }) => distance));
    console.log(`f = ${member.f}: Fréchet distance ${best.toFixed(2)} at best`);
    const { distance } = sampled.find(({ steps }) => steps === followed)!;
    const last = { steps: stepsFor(member, budget), distance };
    rows.push({ member, progress: [...progress, last], sampled });
  }
  const floor = await once('held-out', () => judge.distanceOf(heldOut));
  // Last, so that a training never runs beside them.
  if (options.speeds) rmSync(fileOf('speeds'), { force: true });
  const folders = family.map(folderOf);
  const speeds = await once('speeds', () =>
    measureSpeeds({ folders, steps: samplingSteps, rounds, signal }),
  );
  await writePlots(out, rows, await writeMeasurements(out, rows, speeds));
  const settings =
    `Seed ${seed}. Each training takes ${budget.toExponential(1)} multiply-adds, ` +
    `and each distance ${samples} samples.`;
  await writeFileAtomic(join(out, 'index.md'), `${page(rows, speeds, floor, settings)}\n`);
  console.log(`\nlook at ${join(out, 'index.md')}`);
}

/** Trains a model unless it is there. @returns its distances on the way, the end left out */
async function trained(member: Member, pictures: EmojiSet, judge: Judge): Promise<Row['progress']> {
  const total = stepsFor(member, budget);
  const ends = shares.map((share) => Math.max(1, Math.round(share * total)));
  const at = (steps: number) => `${nameOf(member)}-after-${steps}`;
  const saveTo = folderOf(member);
  if (!existsSync(join(saveTo, 'config.json'))) {
    const firstStage = await firstStageOf(member, pictures);
    await trainInLegs({
      folder: out,
      member,
      firstStage,
      pictures,
      ends,
      saveTo,
      seed,
      signal,
      isWanted: (steps) => !existsSync(fileOf(at(steps))),
      async look(model, steps) {
        await once(at(steps), () => judge.distanceOfSamples(model, followed, samples, signal));
      },
    });
    firstStage?.dispose();
  }
  return ends.slice(0, -1).map((steps) => ({ steps, distance: read<number>(at(steps)) }));
}

/** Distances of a saved model's samples, and a picture of some. */
async function judged(member: Member, judge: Judge): Promise<Row['sampled']> {
  const grid = join(out, `samples-${nameOf(member)}.png`);
  const model = await loadLatentDiffusion(folderOf(member));
  const sampled: Measured[] = [];
  for (const steps of samplingSteps) {
    const name = `${nameOf(member)}-ddim-${steps}`;
    const measure = () => judge.distanceOfSamples(model, steps, samples, signal);
    sampled.push({ steps, distance: await once(name, measure) });
  }
  if (!existsSync(grid)) await writeSamples(grid, model);
  model.dispose();
  return sampled;
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
