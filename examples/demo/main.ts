// The demo: trains a KL autoencoder and a class- and text-conditional latent diffusion model on emoji,
// samples from them, and leaves pictures, curves and models behind. Started again after an interruption
// it goes on where it was; with the same seed it draws the same pictures.
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { concat, defaultDevice, noGrad, smooth, tidy, writePlot } from '../../lib/index.js';
import { makeGrid, writeFileAtomic, writeImage } from '../../lib/io/index.js';
import { loadEmoji } from './emoji.js';
import { diffusionConfig, save } from './models.js';
import { MetricsFile } from './progress.js';
import { samplePictures, type Wish } from './sampling.js';
import { checkSettings, defaultSettings, quickSettings } from './settings.js';
import { reconstruct, trainAutoencoder, trainDiffusion, type Run } from './stages.js';
import { WordTokenizer } from './words.js';

const captions = [
  'red heart',
  'cat face',
  'blue heart',
  'yellow face',
  'green tree',
  'clock',
  'flag',
  'pizza',
];
const perCaption = 6;

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('expected a whole number from 0 on');
  return value;
}

const options = new Command('demo')
  .description('Train latent diffusion on emoji and draw some.')
  .option('--quick', 'a three-minute run on fewer pictures')
  .option('--check', 'only whether everything runs: a few steps, pictures of noise')
  .option('--out <folder>', 'where everything is written', 'out/demo')
  .option('--seed <number>', 'the same seed gives the same pictures', wholeNumber, 0)
  .option('--fresh', 'start anew instead of going on')
  .parse()
  .opts<{ quick?: boolean; check?: boolean; out: string; seed: number; fresh?: boolean }>();

const out = resolve(options.out);
const [size, settings] = options.check
  ? (['check', checkSettings] as const)
  : options.quick
    ? (['quick', quickSettings] as const)
    : (['default', defaultSettings] as const);
// A state belongs to its seed and settings; another run must not go on with it.
const belongs = createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 8);
const stateFolder = join(out, 'state', `${size}-${options.seed}-${belongs}`);
if (options.fresh) rmSync(join(out, 'state'), { recursive: true, force: true });
mkdirSync(stateFolder, { recursive: true });

const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());
process.once('SIGTERM', () => interrupt.abort());

async function main(): Promise<void> {
  const began = performance.now();
  const set = await loadEmoji(settings.pictures);
  const run: Run = {
    settings,
    seed: options.seed,
    set,
    metrics: new MetricsFile(join(stateFolder, 'metrics.jsonl')),
    signal: interrupt.signal,
    statePath: (stage) => join(stateFolder, `${stage}.safetensors`),
  };
  console.log(`${set.count} emoji in ${set.categories.length} categories, on ${defaultDevice()}`);

  const first = await trainAutoencoder(run);
  await save(join(out, 'autoencoder'), first.model);
  const { originals, reconstructions, psnr } = await reconstruct(run, first.model);
  await noGrad(() =>
    tidy(async () => {
      // Each original above its reconstruction, twelve pairs a row.
      const nrow = Math.min(12, originals.shape[0]);
      const rows = [];
      for (let from = 0; from + nrow <= Math.min(48, originals.shape[0]); from += nrow)
        rows.push(originals.narrow(0, from, nrow), reconstructions.narrow(0, from, nrow));
      await writeImage(
        join(out, 'reconstructions.png'),
        await makeGrid(concat(rows, 0), { nrow, padValue: 1 }),
      );
    }),
  );
  console.log(`autoencoder: ${psnr.toFixed(2)} dB on ${originals.shape[0]} held-out emoji`);

  const words = WordTokenizer.fromCaptions(set.captions).words;
  const second = await trainDiffusion(
    run,
    first.model,
    diffusionConfig(settings, set.categories, words),
  );
  await save(join(out, 'diffusion'), second.model);

  const samplingBegan = performance.now();
  const grid = async (file: string, wishes: Wish[], nrow: number): Promise<void> => {
    const pictures = await samplePictures(second.model, first.model, wishes, settings.sampling);
    await writeImage(join(out, file), await makeGrid(pictures, { nrow, padValue: 1 }));
    pictures.dispose();
  };
  const seeds = (count: number): number[] =>
    Array.from({ length: count }, (_, i) => 1000 * options.seed + i);
  const { perCategory } = settings.sampling;
  // In each row half of the samples know the category alone, half also the caption of one of its drawings.
  const rowOf = (category: string, c: number): Wish[] => {
    const drawings = set.captions.filter((_, i) => set.category[i] === c);
    const half = Math.ceil(perCategory / 2);
    return seeds(perCategory).map((seed, i) => {
      if (i < half) return { category, seed };
      const share = (i - half + 0.5) / (perCategory - half);
      return { category, seed, caption: drawings[Math.floor(share * drawings.length)] };
    });
  };
  const byCategory = set.categories.map(rowOf);
  await grid('categories.png', byCategory.flat(), perCategory);
  await grid(
    'captions.png',
    captions.flatMap((caption) => seeds(perCaption).map((seed) => ({ caption, seed }))),
    perCaption,
  );
  const sampling = (performance.now() - samplingBegan) / 1000;

  const curve = (stage: string, name: string, colour: string) => ({
    name,
    colour,
    points: smooth(
      run.metrics
        .read()
        .filter((m) => m.stage === stage)
        .map((m) => [m.images, Number(m.loss)]),
      0.8,
    ),
  });
  await writePlot(join(out, 'losses.png'), {
    title: 'Training losses',
    x: { label: 'images seen' },
    y: { label: 'loss', scale: 'log' },
    curves: [
      curve('autoencoder', 'autoencoder (L1 + L2 + hue)', '#d1495b'),
      curve('diffusion', 'diffusion (error of v)', '#00798c'),
    ],
  });
  const summary = {
    psnr,
    seconds: {
      autoencoder: first.seconds,
      diffusion: second.seconds,
      sampling,
      total: (performance.now() - began) / 1000,
    },
    device: defaultDevice().name,
    images: {
      autoencoder: settings.autoencoder.steps * settings.autoencoder.batch,
      diffusion: settings.diffusion.steps * settings.diffusion.batch,
    },
    parameters: {
      autoencoder: first.model.parameterCount(),
      diffusion: second.model.parameterCount(),
    },
    seed: options.seed,
    rows: { 'categories.png': set.categories, 'captions.png': captions },
    captions: Object.fromEntries(
      set.categories.map((category, c) => [
        category,
        byCategory[c].map((wish) => wish.caption ?? ''),
      ]),
    ),
  };
  await writeFileAtomic(join(out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  await writeFileAtomic(
    join(out, 'metrics.jsonl'),
    run.metrics
      .read()
      .map((m) => `${JSON.stringify(m)}\n`)
      .join(''),
  );
  console.log(`done after ${(summary.seconds.total / 60).toFixed(1)} minutes; look at`);
  for (const file of [
    'reconstructions.png',
    'categories.png',
    'captions.png',
    'losses.png',
    'summary.json',
  ])
    console.log(`  ${join(out, file)}`);
}

try {
  await main();
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  console.log('interrupted; the same command goes on from here');
  process.exitCode = 130;
}
