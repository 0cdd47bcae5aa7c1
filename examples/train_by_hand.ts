// A training loop of one's own: diffusion on 32x32 emoji by their category, its moving average, samples with guidance.
//   node --import ./scripts/typescript.mjs examples/train_by_hand.ts --out out/by_hand
// --quick takes a few steps of a narrow network, to see it run; --first-stage trains on the latents of a saved one.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import {
  AdamW,
  buildLatentDiffusion,
  clipGradNorm,
  DataLoader,
  Ema,
  loadFirstStage,
  makeGrid,
  manualSeed,
  rand,
  randint,
  randn,
  saveLatentDiffusion,
  tensor,
  tidy,
  writeImage,
} from '../lib/index.js';
import { emojiDataset } from './demo/dataset.js';
import { loadEmoji } from './demo/emoji.js';

const program = new Command('train_by_hand')
  .option('--steps <number>', 'of training', Number)
  .option('--first-stage <folder>', 'a saved first stage; without it diffusion works on pixels')
  .option('--quick', 'only a few steps', false)
  .option('--out <folder>', 'for the model and its samples', 'out/by_hand')
  .parse();
const given = program.opts<{ steps?: number; firstStage?: string; quick: boolean; out: string }>();
const { firstStage, quick, out } = given;
const steps = given.steps ?? (quick ? 10 : 4000);
const [side, batchSize] = [32, quick ? 4 : 32];

manualSeed(1);
const emoji = await loadEmoji(quick ? 60 : Infinity);
const classes = emoji.categories.length;
const data = new DataLoader(emojiDataset(emoji), {
  batchSize,
  workers: 0,
  transform: { size: side },
});

const stage = firstStage === undefined ? undefined : await loadFirstStage(firstStage);
const channels = stage?.latentChannels ?? 3;
const model = buildLatentDiffusion({
  unet: {
    imageSize: side / (stage?.downsampling ?? 1),
    inChannels: channels,
    outChannels: channels,
    modelChannels: quick ? 16 : 64,
    numResBlocks: 1,
    attentionResolutions: [4],
    channelMult: [1, 2, 2],
    numHeads: 2,
    useSpatialTransformer: true,
    contextDim: 64,
    normGroups: 8,
  },
  firstStage: stage?.spec ?? { kind: 'identity' },
  conditioner: { kind: 'class', embedDim: 64, nClasses: classes + 1, unconditionalClass: classes },
  conditioningKey: 'crossattn',
  conditionerTrainable: true,
  scaleByStd: true,
});
if (stage) model.first_stage_model.loadStateDict(stage.stateDict());

const parameters = model.trainedParameters();
const optimizer = new AdamW(parameters, { lr: 5e-4 });
const ema = new Ema(model.model.namedParameters());
const { timesteps } = model.diffusion.schedule;

let step = 0;
for await (const { image, label } of data.batches()) {
  if (step === 0) await model.measureScale({ images: image });
  const loss = await tidy(async () => {
    const batch = { images: image, condition: tensor(BigInt64Array.from(label!, BigInt)) };
    const { loss } = model.loss(batch, {
      t: randint(0, timesteps, [batchSize]),
      noise: randn(model.latentShape(batch)),
      encoding: { seed: 1, step },
      dropped: rand([batchSize]).lt(0.1), // guidance leads away from what is learnt without a class
    });
    loss.backward();
    clipGradNorm(parameters, 1);
    optimizer.step();
    optimizer.zeroGrad();
    ema.update();
    return loss.item();
  });
  image.dispose();
  step += 1;
  if (step % (quick ? 5 : 100) === 0) console.log(`step ${step}: loss ${loss.toFixed(4)}`);
  if (step === steps) break;
}

mkdirSync(out, { recursive: true });
await ema.scope(async () => {
  const ids = Array.from({ length: classes }, (_, k) => BigInt(k));
  const { images } = await model.sample({
    condition: tensor(BigInt64Array.from(ids)),
    guidance: 3,
    steps: quick ? 4 : 50,
    seed: ids.map((_, k) => k),
  });
  await writeImage(join(out, 'samples.png'), await makeGrid(images!, { nrow: classes }));
});
await saveLatentDiffusion(join(out, 'model'), model, { ema });
console.log(out);
