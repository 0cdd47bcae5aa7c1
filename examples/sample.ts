// Draws emoji from the models that the demo trained:
//   npm run sample -- "red heart" --count 8 --out hearts.png
import { Command } from 'commander';
import { makeGrid, writeImage } from '../lib/io/index.js';
import { loadAutoencoder, loadDiffusion } from './demo/models.js';
import { samplePictures } from './demo/sampling.js';

const program = new Command('sample')
  .argument('[caption]', 'a few words', '')
  .option('--models <folder>', "the demo's output folder", 'out/demo')
  .option('--category <name>', 'one of the names in summary.json')
  .option('--count <number>', 'how many pictures', Number, 8)
  .option('--seed <number>', 'of the first picture', Number, 0)
  .option('--steps <number>', 'of the DDIM sampler', Number, 50)
  .option('--guidance <scale>', 'how closely to follow the caption', Number, 2)
  .option('--out <file>', 'PNG to write', 'sample.png')
  .parse();
const { models, category, count, seed, steps, guidance, out } = program.opts<{
  models: string;
  category?: string;
  count: number;
  seed: number;
  steps: number;
  guidance: number;
  out: string;
}>();

const autoencoder = await loadAutoencoder(`${models}/autoencoder`);
const diffusion = await loadDiffusion(`${models}/diffusion`);
const wishes = Array.from({ length: count }, (_, i) => ({
  caption: program.args[0],
  category,
  seed: seed + i,
}));
const pictures = await samplePictures(diffusion, autoencoder, wishes, { steps, guidance });
await writeImage(out, await makeGrid(pictures, { nrow: Math.min(8, count), padValue: 1 }));
console.log(out);
