// Fills a hole of a picture in several ways, as a text asks if the model reads texts; what was there, the hole, and the
// fillings as one row:
//   node --import ./scripts/typescript.mjs examples/inpaint.ts logs/photos/model photo.jpg --masks thick --out filled.png
import { Argument, Command, Option } from 'commander';
import {
  concat,
  drawMask,
  ge,
  inpaint,
  loadLatentDiffusion,
  makeGrid,
  maskFamilies,
  openTokenizer,
  readImage,
  tensor,
  tidy,
  where,
  writeImage,
  type MaskFamilyName,
} from '../lib/index.js';

const program = new Command('inpaint')
  .addArgument(
    new Argument('<model>', 'a model folder: of masked pictures, of texts, or of nothing'),
  )
  .addArgument(new Argument('<picture>', 'of any size'))
  .addOption(
    new Option('--masks <family>', 'what the hole looks like')
      .choices(Object.keys(maskFamilies))
      .default('thick'),
  )
  .option('--prompt <text>', 'what is to be made, by a model that reads texts')
  .option('--count <number>', 'how many fillings', Number, 4)
  .option('--seed <number>', 'of the hole and of the first filling', Number, 0)
  .option('--steps <number>', 'of the sampler', Number, 50)
  .option('--out <file>', 'PNG to write', 'filled.png')
  .parse();
const [modelPath, picturePath] = program.args;
const { masks, prompt, count, seed, steps, out } = program.opts<{
  masks: MaskFamilyName;
  prompt?: string;
  count: number;
  seed: number;
  steps: number;
  out: string;
}>();

const model = await loadLatentDiffusion(modelPath);
const tokenizer =
  prompt === undefined ? undefined : await openTokenizer(modelPath, model.spec.conditioner);
await tidy(async () => {
  const picture = await readImage(picturePath);
  const [height, width] = picture.shape;
  const image = picture.reshape([1, height, width, 3]);
  const bytes = drawMask(masks, { height, width }, { seed }, { most: 0.5 });
  const mask = tensor(Float32Array.from(bytes), { shape: [1, height, width, 1] });
  // One after the other, so that a large picture needs the memory of one.
  const fillings = [];
  for (let i = 0; i < count; ++i)
    fillings.push(await inpaint(model, { image, mask, prompt, tokenizer, steps, seed: seed + i }));
  const row = concat([image, where(ge(mask, 0.5), 1, image), ...fillings], 0);
  await writeImage(out, await makeGrid(row, { nrow: count + 2, padValue: 1 }));
});
console.log(out);
