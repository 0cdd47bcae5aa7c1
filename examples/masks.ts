// Draws what the families of masks look like, a row each, white for what is to be made:
//   node --import ./scripts/typescript.mjs examples/masks.ts --out docs/images/masks.png
import { Command } from 'commander';
import {
  drawMask,
  makeGrid,
  maskFamilies,
  tensor,
  tidy,
  writeImage,
  type MaskFamilyName,
} from '../lib/index.js';

const { out, size, count, seed } = new Command('masks')
  .option('--count <number>', 'of each family', Number, 8)
  .option('--size <pixels>', 'of a side', Number, 128)
  .option('--seed <number>', 'of the first family', Number, 0)
  .option('--out <file>', 'PNG to write', 'masks.png')
  .parse()
  .opts<{ out: string; size: number; count: number; seed: number }>();

const names = Object.keys(maskFamilies) as MaskFamilyName[];
const values = new Float32Array(names.length * count * size * size);
names.forEach((name, row) => {
  for (let sample = 0; sample < count; ++sample) {
    const mask = drawMask(
      name,
      { height: size, width: size },
      { seed: seed + row, sample },
      { most: 0.6 },
    );
    const offset = (row * count + sample) * mask.length;
    mask.forEach((made, i) => (values[offset + i] = made * 2 - 1));
  }
});
await tidy(async () => {
  const masks = tensor(values, { shape: [names.length * count, size, size, 1] });
  await writeImage(out, await makeGrid(masks, { nrow: count, padding: 3, padValue: 0 }));
});
console.log(`${out}: from the top ${names.join(', ')}`);
