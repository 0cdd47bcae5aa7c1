// The study of first stages: trains one of each downsampling factor and regulariser for the same number of
// steps, measures what they keep of held-out drawings, and shows what an adversarial loss adds. Started again
// after an interruption it goes on where it was.
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import {
  concat,
  defaultDevice,
  loadEmojiExtractor,
  loadFirstStage,
  makeGrid,
  resize,
  tidy,
  writeFileAtomic,
  writeImage,
  writePlot,
  type Curve,
  type EmojiExtractor,
  type FirstStage,
  type Tensor,
} from '../../../lib/index.js';
import { measure, reconstruct } from './measure.js';
import { allPictures, loadPictures } from './pictures.js';
import {
  adversarialTable,
  longerTable,
  trend,
  zooTable,
  type AdversarialRow,
  type Row,
} from './report.js';
import { freshModel, train, zooBudget, type Budget } from './train.js';
import { zoo, type Entry } from './zoo.js';

const options = new Command('study:first-stage')
  .description('Train first stages of every downsampling factor on emoji and compare them.')
  .option('--quick', 'a check that everything runs: few steps on few pictures')
  .option('--out <folder>', 'where everything is written', 'out/study/first-stage')
  .parse()
  .opts<{ quick?: boolean; out: string }>();

const { seed } = zooBudget;
const budget: Budget = options.quick ? { ...zooBudget, steps: 20, batch: 4 } : zooBudget;
/** How KL and VQ at f = 4 compare when a codebook has had the time that it needs. */
const longerBudget: Budget = { ...budget, steps: 3 * budget.steps };
const trainedLonger = ['kl-f4', 'vq-f4'];
/** The adversarial study goes on with this model, whose pictures are blurred enough to be sharpened. */
const adversarialBase = 'kl-f8';
const adversarialBudget: Budget = { ...budget, learningRate: 2e-4, seed: 1 };

const out = resolve(options.out, options.quick ? 'quick' : '.');
mkdirSync(out, { recursive: true });
const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());
process.once('SIGTERM', () => interrupt.abort());

async function main(): Promise<void> {
  const { training, heldOut } = await loadPictures(options.quick ? 200 : undefined);
  const originals = allPictures(heldOut);
  console.log(`${training.count} drawings to train on, ${heldOut.count} held out`);
  const common = { folder: out, pictures: training, signal: interrupt.signal };

  const extractor = await loadEmojiExtractor();
  const shown: Tensor[] = [originals];
  const study = async (entry: Entry, spent: Budget): Promise<Row> => {
    const name = spent === budget ? entry.name : `${entry.name} longer`;
    const model = freshModel(entry.spec, seed);
    const trained = await train({ ...common, name, budget: spent, model });
    const reconstructions = await reconstruct(trained, originals);
    const quality = await measure(trained, extractor, originals, reconstructions);
    if (spent === budget) shown.push(reconstructions);
    console.log(
      `${name}: ${quality.psnr.mean.toFixed(2)} dB, SSIM ${quality.ssim.mean.toFixed(3)}, ` +
        `R-FID-like ${quality.rfid.toFixed(2)}`,
    );
    const parameters = trained.parameterCount();
    trained.dispose();
    return { entry, parameters, quality };
  };
  const rows: Row[] = [];
  for (const entry of zoo) rows.push(await study(entry, budget));
  const longer: Row[] = [];
  for (const entry of zoo)
    if (trainedLonger.includes(entry.name)) longer.push(await study(entry, longerBudget));
  await comparison(join(out, 'reconstructions.png'), shown, Math.min(10, heldOut.count));
  await writePlot(join(out, 'psnr.png'), {
    title: 'What first stages keep of held-out emoji',
    x: { label: 'downsampling factor f', scale: 'log', ticks: [1, 2, 4, 8, 16, 32] },
    y: { label: 'PSNR, dB' },
    curves: [curve(rows, 'KL', '#d1495b'), curve(rows, 'VQ', '#00798c')],
  });

  const sharpened = await adversarial(common, extractor, originals);
  const device = defaultDevice().name;
  const summary = { device, budget, rows, longerBudget, longer, adversarial: sharpened };
  await writeFileAtomic(join(out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  const page = [
    zooTable(rows),
    trend(rows).join('\n'),
    longerTable(longer),
    adversarialTable(sharpened),
  ].join('\n\n');
  await writeFileAtomic(join(out, 'tables.md'), `${page}\n`);
  console.log(`\n${page}\n\nlook at`);
  for (const file of ['psnr.png', 'reconstructions.png', 'adversarial.png', 'tables.md'])
    console.log(`  ${join(out, file)}`);
}

function curve(rows: readonly Row[], regularizer: 'KL' | 'VQ', colour: string): Curve {
  const own = rows.filter(({ entry }) => entry.regularizer === regularizer);
  const points = own.map(({ entry, quality }) => [entry.f, quality.psnr.mean] as const);
  return { name: regularizer, colour, points, dots: true, dashed: regularizer === 'VQ' };
}

/** Goes on from one model with and without a discriminator, for as many steps. */
async function adversarial(
  common: Pick<Parameters<typeof train>[0], 'folder' | 'pictures' | 'signal'>,
  extractor: EmojiExtractor,
  originals: Tensor,
): Promise<AdversarialRow[]> {
  const base = (): Promise<FirstStage> => loadFirstStage(join(out, 'models', adversarialBase));
  const discriminator = { discStart: 0, discNdf: 32, discNumLayers: 2, discWeight: 0.3 };
  const rows: AdversarialRow[] = [];
  const shown: Tensor[] = [originals];
  for (const [name, terms] of [
    ['L1', undefined],
    ['L1 and discriminator', discriminator],
  ] as const) {
    const model = await train({
      ...common,
      name: `${adversarialBase} ${name}`,
      budget: adversarialBudget,
      model: await base(),
      adversarial: terms,
    });
    const reconstructions = await reconstruct(model, originals);
    rows.push({ name, quality: await measure(model, extractor, originals, reconstructions) });
    shown.push(reconstructions);
    model.dispose();
  }
  // crops of the middle, three times as large
  const crops = shown.map((pictures) =>
    resize(pictures.slice([null, [12, 52], [12, 52]]), { size: [120, 120], mode: 'nearest' }),
  );
  await comparison(join(out, 'adversarial.png'), crops, Math.min(8, originals.shape[0]));
  return rows;
}

/** One row for each set of pictures, the originals first. */
async function comparison(path: string, sets: readonly Tensor[], count: number): Promise<void> {
  await tidy(async () => {
    // spread evenly, since neighbours in the set are much alike
    const step = Math.floor(sets[0].shape[0] / count);
    const rows = sets.flatMap((set) =>
      Array.from({ length: count }, (_, i) => set.narrow(0, i * step, 1)),
    );
    await writeImage(path, await makeGrid(concat(rows, 0), { nrow: count, padValue: 1 }));
  });
}

try {
  await main();
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  console.log('interrupted; the same command goes on from here');
  process.exitCode = 130;
}
