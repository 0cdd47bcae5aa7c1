// Pictures of a label map, of the map's own size, however large:
//   node --import ./scripts/typescript.mjs examples/semantic_to_image.ts logs/scenes/model map.png --count 2
import { Command } from 'commander';
import {
  loadLatentDiffusion,
  makeGrid,
  readColourMap,
  readLabels,
  semanticLabels,
  semanticToImage,
  stack,
  tidy,
  writeImage,
} from '../lib/index.js';

const program = new Command('semantic_to_image')
  .argument('<model>', 'a model folder')
  .argument('<map>', 'a PNG of one byte or palette index per pixel')
  .option('--colours <file>', 'a JSON file of labels by colour, for a map of colours')
  .option('--ignore <byte>', 'what stands for no label', Number)
  .option('--count <number>', 'how many pictures', Number, 1)
  .option('--seed <number>', 'of the first picture', Number, 0)
  .option('--steps <number>', 'of the sampler', Number, 50)
  .option('--out <file>', 'PNG to write', 'scene.png')
  .parse();
const [modelPath, mapPath] = program.args;
const { colours, ignore, count, seed, steps, out } = program.opts<{
  colours?: string;
  ignore?: number;
  count: number;
  seed: number;
  steps: number;
  out: string;
}>();

const model = await loadLatentDiffusion(modelPath);
await tidy(async () => {
  const map = await readLabels(mapPath, {
    labels: semanticLabels(model.spec),
    ignore,
    colours: colours === undefined ? undefined : await readColourMap(colours),
  });
  // One after the other, so that a large picture needs the memory of one.
  const pictures = [];
  for (let i = 0; i < count; ++i) {
    const { images } = await semanticToImage(model, { map, steps, seed: seed + i });
    pictures.push(images!.select(0, 0));
  }
  await writeImage(out, await makeGrid(stack(pictures), { nrow: Math.min(4, count), padValue: 1 }));
});
console.log(out);
