// Enlarges a picture in several ways; bicubic interpolation and the results as one row:
//   node --import ./scripts/typescript.mjs examples/upscale.ts logs/folder64-upscale/model small.png --out large.png
// With --degrade the picture is first made small, as in training: the row then ends with what it was.
import { Command, Option } from 'commander';
import {
  clamp,
  concat,
  degradationNames,
  degrade,
  loadLatentDiffusion,
  makeGrid,
  psnr,
  readImage,
  resize,
  tensor,
  tidy,
  upscale,
  upscalingFactor,
  writeImage,
  type DegradationName,
  type Tensor,
} from '../lib/index.js';

const program = new Command('upscale')
  .argument('<model>', 'a model folder of super-resolution')
  .argument('<picture>', 'of any size')
  .addOption(new Option('--degrade <name>', 'make it small first').choices(degradationNames))
  .option('--count <number>', 'how many results', Number, 3)
  .option('--seed <number>', 'of the degradation and of the first result', Number, 0)
  .option('--steps <number>', 'of the sampler', Number, 100)
  .option('--out <file>', 'PNG to write', 'large.png')
  .parse();
const [modelPath, picturePath] = program.args;
const {
  degrade: name,
  count,
  seed,
  steps,
  out,
} = program.opts<{
  degrade?: DegradationName;
  count: number;
  seed: number;
  steps: number;
  out: string;
}>();

const model = await loadLatentDiffusion(modelPath);
const factor = upscalingFactor(model.spec);

/** The picture as a batch of one, without what is left over beyond multiples of the factor. */
function original(picture: Tensor): Tensor {
  const [height, width] = picture.shape.map((side) => side - (side % factor));
  return picture.narrow(0, 0, height).narrow(1, 0, width).reshape([1, height, width, 3]);
}

async function degraded(picture: Tensor, name: DegradationName): Promise<Tensor> {
  const [, height, width] = picture.shape;
  const values = await picture.data();
  const data = Uint8Array.from(values as Float32Array, (value) => Math.round((value + 1) * 127.5));
  const pixels = { data, width, height, channels: 3 };
  const { image, steps } = await degrade(pixels, name, factor, { seed, epoch: 0, index: 0 });
  for (const step of steps) console.log(JSON.stringify(step));
  const small = Float32Array.from(image.data, (byte) => byte / 127.5 - 1);
  return tensor(small, { shape: [1, image.height, image.width, 3] });
}

await tidy(async () => {
  const picture = await readImage(picturePath, { background: 'white' });
  const known = name && original(picture);
  const image = known ? await degraded(known, name) : picture.reshape([1, ...picture.shape]);
  const [, height, width] = image.shape;
  const size = [height * factor, width * factor] as const;
  const smooth = clamp(resize(image, { size, mode: 'bicubic' }), -1, 1);
  const results: Tensor[] = [];
  for (let i = 0; i < count; ++i)
    results.push(await upscale(model, { image, steps, seed: seed + i }));
  if (known)
    for (const [i, each] of [smooth, ...results].entries()) {
      const quality = await psnr(known, each).mean().item();
      console.log(`${i === 0 ? 'bicubic' : `result ${i}`}: ${quality.toFixed(2)} dB`);
    }
  const row = [smooth, ...results, ...(known ? [known] : [])];
  await writeImage(out, await makeGrid(concat(row), { nrow: row.length, padValue: 1 }));
  console.log(out);
});
