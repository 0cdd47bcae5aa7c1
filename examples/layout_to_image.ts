// Asks a model of layouts for things in places, and moves the first of them across the picture from left to right; a
// row of layouts, and below it one of pictures, each with the same seed:
//   node --import ./scripts/typescript.mjs examples/layout_to_image.ts logs/scenes/model dog:0.1,0.4,0.4,0.5 ball:0.7,0.7,0.2,0.2
import { Command } from 'commander';
import {
  concat,
  drawBoxes,
  layoutToImage,
  loadLatentDiffusion,
  makeGrid,
  readClassNames,
  resize,
  stack,
  tidy,
  writeImage,
  type Tensor,
  type WantedBox,
} from '../lib/index.js';

const program = new Command('layout_to_image')
  .argument('<model>', 'a model folder that `emulsion train` wrote')
  .argument('<boxes...>', 'CATEGORY:X,Y,WIDTH,HEIGHT in shares of the picture')
  .option('--count <number>', 'places that the first box is moved to', Number, 5)
  .option('--guidance <scale>', 'how strongly the layout is followed', Number, 1)
  .option('--steps <number>', 'of the sampler', Number, 50)
  .option('--seed <number>', 'of every picture', Number, 0)
  .option('--out <file>', 'PNG to write', 'layouts.png')
  .parse();
const [modelPath, ...given] = program.processedArgs.flat() as string[];
const { count, guidance, steps, seed, out } = program.opts<{
  count: number;
  guidance: number;
  steps: number;
  seed: number;
  out: string;
}>();

/** Of each layout and picture in what is written. */
const side = 256;

function parsed(text: string): WantedBox {
  const [, category, numbers] = /^(.+):([^:]+)$/.exec(text) ?? [];
  const [x, y, width, height] = (numbers ?? '').split(',').map(Number);
  if (!Number.isFinite(x + y + width + height))
    program.error(`'${text}' is no box: give NAME:X,Y,WIDTH,HEIGHT`);
  return { category, x, y, width, height };
}

const [moved, ...others] = given.map(parsed);
const model = await loadLatentDiffusion(modelPath);
// The training left the names of its categories beside the weights.
const categories = await readClassNames(modelPath);
await tidy(async () => {
  const drawings: Tensor[] = [];
  const pictures: Tensor[] = [];
  for (let i = 0; i < count; ++i) {
    const x = ((1 - moved.width) * i) / Math.max(1, count - 1);
    const boxes = [{ ...moved, x }, ...others];
    const { images } = await layoutToImage(model, { boxes, categories, guidance, steps, seed });
    pictures.push(images!);
    const named = boxes.map((box) => ({ ...box, label: String(box.category) }));
    drawings.push(await drawBoxes(named, { width: side, height: side }));
  }
  // So large that the names of boxes can be read.
  const enlarged = resize(concat(pictures, 0), { size: [side, side], mode: 'nearest' });
  const rows = concat([stack(drawings), enlarged], 0);
  await writeImage(out, await makeGrid(rows, { nrow: count, padValue: 0.5 }));
});
console.log(out);
