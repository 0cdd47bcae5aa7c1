// Trains the network behind loadEmojiExtractor: the nine categories of emoji, every twentieth drawing held out.
// The same seed gives the same file on the same machine.
import { Command } from 'commander';
import { cpus } from 'node:os';
import {
  AdamW,
  clipGradNorm,
  crossEntropy,
  Ema,
  emojiCategories,
  EmojiExtractor,
  emojiExtractorFile,
  manualSeed,
  noGrad,
  tensor,
  tidy,
  writeSafetensors,
} from '../../lib/index.js';
import { Order, plainBatch } from '../demo/batches.js';
import { isHeldOut, loadEmoji, type EmojiSet } from '../demo/emoji.js';
import { Progress } from '../demo/progress.js';
import { augmentedBatch } from './augment.js';

const seed = 0;
const batch = 64;
const peakRate = 3e-3;
const warmup = 50;

const options = new Command('emoji_extractor')
  .description('Train the feature extractor of emoji that the package carries.')
  .option('--steps <n>', 'training steps', Number, 1500)
  .option('--out <file>', 'where the weights go', emojiExtractorFile)
  .parse()
  .opts<{ steps: number; out: string }>();

async function main(): Promise<void> {
  const set = await loadEmoji();
  if (String(set.categories) !== String(emojiCategories))
    throw new Error(`the package's categories are ${set.categories.join(', ')}`);
  const indices = Array.from({ length: set.count }, (_, i) => i);
  const training = indices.filter((index) => !isHeldOut(index));
  const heldOut = indices.filter(isHeldOut);
  console.log(`${training.length} drawings, ${heldOut.length} held out; ${cpus()[0].model}`);

  manualSeed(seed);
  const network = new EmojiExtractor();
  await train(network, set, training);
  network.eval().to('float16'); // half the size of the file, and no less accurate
  await writeSafetensors(options.out, network.exportState());
  network.to('float32');
  for (const [name, members] of Object.entries({ training, 'held out': heldOut })) {
    const { accuracy, balanced } = await measure(network, set, members);
    console.log(`${name}: ${percent(accuracy)} right, ${percent(balanced)} as mean of the classes`);
  }
  console.log(`${network.parameterCount()} parameters in ${options.out}`);
}

/** Leaves the moving average of the weights in the network. */
async function train(
  network: EmojiExtractor,
  set: EmojiSet,
  members: readonly number[],
): Promise<void> {
  const optimizer = new AdamW(network.parameters(), { weightDecay: 0.02 });
  const ema = new Ema(network.namedParameters(), { decay: 0.99 });
  const order = new Order(members, seed, 1);
  const progress = new Progress('extractor', options.steps, 0, batch);
  for (let step = 0; step < options.steps; step++) {
    const share = step / options.steps;
    const rate = peakRate * Math.min((step + 1) / warmup, 0.5 * (1 + Math.cos(Math.PI * share)));
    const loss = await tidy(() => {
      const seen = order.at(step, batch);
      const { logits } = network.forward(augmentedBatch(set, seen, { seed, step }));
      const labels = tensor(Int32Array.from(seen, (index) => set.category[index]));
      const loss = crossEntropy(logits, labels, { labelSmoothing: 0.1 });
      loss.backward();
      clipGradNorm(network.parameters(), 1);
      optimizer.groups[0].lr = rate;
      optimizer.step();
      optimizer.zeroGrad();
      ema.update();
      return loss.item();
    });
    progress.step(step + 1, loss);
  }
  progress.stop();
  ema.copyTo();
}

/** Share of drawings whose category is found, over all and as the mean of the categories' shares. */
async function measure(
  network: EmojiExtractor,
  set: EmojiSet,
  members: readonly number[],
): Promise<{ accuracy: number; balanced: number }> {
  const right = set.categories.map(() => 0);
  const all = set.categories.map(() => 0);
  for (let from = 0; from < members.length; from += batch) {
    const seen = members.slice(from, from + batch);
    const logits = await tidy(() =>
      noGrad(() => network.forward(plainBatch(set, seen)).logits.data()),
    );
    seen.forEach((index, n) => {
      const row = Array.from(logits as Float32Array).slice(
        n * right.length,
        (n + 1) * right.length,
      );
      const label = set.category[index];
      all[label]++;
      if (row.indexOf(Math.max(...row)) === label) right[label]++;
    });
  }
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const shares = right.map((count, label) => count / all[label]);
  return { accuracy: sum(right) / sum(all), balanced: sum(shares) / shares.length };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

await main();
